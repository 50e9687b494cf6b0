/** Job consumers in a process of their own, so that a test can kill it. */

import { loadConfig } from '../../core/config.ts';
import { silentLog } from '../../core/log.ts';
import { Metrics } from '../../core/metrics.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { RedisStore } from '../../core/store/redis.ts';
import { Snapshot } from '../../core/store/snapshot.ts';
import { startJobs } from '../../worker/jobs/main.ts';

const config = loadConfig();
const redis = connectRedis(config, 'failFast');
await waitForRedis(redis, 10_000);
const snapshot = await Snapshot.open(new RedisStore(redis), ['function', 'revision']);
await startJobs({ config, redis, snapshot, log: silentLog, metrics: new Metrics() });
