/** The worker: runs this node's instances. It alone must be root. Order matters at start (what earlier workers left is taken over
 *  before anything new starts) and at the end (nobody asks for instances any more before the last one goes). */

import { availableParallelism, totalmem } from 'node:os';
import { chown, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../core/clock.ts';
import type { Config } from '../core/config.ts';
import type { NodeRecord, RevisionRecord } from '../core/records.ts';
import type { EndMode, EndOptions, Service, ServiceContext } from '../core/service.ts';
import { Snapshot } from '../core/store/snapshot.ts';
import { ensureMasterKey, SecretBox } from '../core/secrets.ts';
import type { Millis } from '../core/units.ts';
import { Vault } from '../core/vault.ts';
import { openCgroups } from './cgroup/open.ts';
import { serveControl } from './control.ts';
import { chooseDriver, hideHybridCgroup2, raiseInotifyLimits, requireRoot } from './host.ts';
import { dropLayersOfEarlierBoot, Images } from './images.ts';
import { StartBackoff } from './instances/backoff.ts';
import { reportBeginnings } from './instances/beginnings-report.ts';
import { classOf } from './instances/class-of.ts';
import type { InstanceOwner } from './instances/instance.ts';
import { InstanceManager } from './instances/manager.ts';
import { RecordWriter } from './instances/record-writer.ts';
import { startJobs } from './jobs/main.ts';
import { becomeSubreaper, mount, MS_BIND, MS_SHARED, unmount } from './native.ts';
import { Networks } from './network/networks.ts';
import { consumeNodeJobs } from './node-jobs.ts';
import { Orphans } from './orphans.ts';
import { Pool } from './pool.ts';
import type { ClassDemand } from './pool-policy.ts';
import { createDriver } from './sandbox/driver.ts';
import type { SandboxHost } from './sandbox/sandbox.ts';
import { UidSlots } from './sandbox/slots.ts';
import { adoptOrRemove, sweep } from './sweep.ts';

const SANDBOXES_MAX = 2000;
const LEASE: Millis = 15_000;
const LEASE_EVERY: Millis = 5000;
/** Gauges; as often as the heartbeat takes them along. */
const COUNT_EVERY: Millis = 1000;
const MEMORY_CHECK_EVERY: Millis = 1000;
const ORPHANS_EVERY: Millis = 2000;
const SWEEP_EVERY: Millis = 30_000;
const COLLECT_EVERY: Millis = 600_000;
const FLUSH_WITHIN: Millis = 2000;
/** When the platform stops, running jobs get this long, then go back to the queue. */
const JOBS_WITHIN: Millis = 10_000;
/** Warm sandboxes may hold this share of the machine's memory, unless FN_POOL_MEMORY says how much. */
const POOL_SHARE = 0.25;

export async function startWorker(context: ServiceContext): Promise<Service> {
  const { config, log, metrics, store } = context;
  requireRoot();
  const driverName = chooseDriver(config);
  const snapshot = await Snapshot.open(store, ['function', 'revision', 'secret'], {
    onError: (error) => log.debug({ err: error }, 'snapshot'),
  });
  await context.takeOver();
  await prepareDirectories(config);
  await dropLayersOfEarlierBoot(config);
  await shareMounts(config.paths.sandboxes);
  const decoy = driverName === 'crun' ? hideHybridCgroup2() : undefined;
  const driver = createDriver(driverName, join(config.home, 'state'), decoy?.path);
  const cgroups = openCgroups(config.instanceOfPlatform);
  await cgroups.prepare();
  becomeSubreaper();
  raiseInotifyLimits(SANDBOXES_MAX, log);
  const orphans = new Orphans();
  const networks = await Networks.open(config, log);

  const host: SandboxHost = {
    config,
    driver,
    cgroups,
    networks,
    slots: new UidSlots(config.uidBase, SANDBOXES_MAX),
    living: new Set(),
  };
  const images = new Images(config);
  const pool = new Pool<InstanceOwner>(host, {
    minimum: config.pool,
    ceiling: config.poolMemory || totalmem() * POOL_SHARE,
    clock: systemClock,
    log,
  });
  const records = new RecordWriter(store);
  const vault = new Vault(new SecretBox(await ensureMasterKey(config.paths.masterKey)), (name) =>
    snapshot.get('secret', name),
  );
  const demand = poolDemand(images, pool, log);
  const manager = new InstanceManager({
    config,
    images,
    pool,
    backoff: new StartBackoff(systemClock),
    records,
    clock: systemClock,
    log,
    metrics,
    revision: (id) => snapshot.get('revision', id),
    secrets: (spec) => vault.variables(spec.secrets),
  });

  log.info(await adoptOrRemove(host, manager, pool, log), 'leftovers of earlier workers');
  snapshot.subscribe(() => demand(snapshot));
  demand(snapshot);
  const control = await serveControl(config, manager, metrics);
  const nodeJobs = consumeNodeJobs(config, manager, log);
  const beginnings = reportBeginnings(context.redis, config.nodeId, manager.beginnings);
  const jobs = await startJobs({ config, log, metrics, redis: context.redis, snapshot });

  const lease = async (): Promise<void> => {
    const record: NodeRecord = {
      id: config.nodeId,
      driver: driver.name,
      cgroup: cgroups.version,
      cpus: availableParallelism(),
      memory: totalmem(),
      startedAt,
      expiresAt: Date.now() + LEASE,
    };
    await store.put('node', config.nodeId, record).catch(() => 0); // Redis is away; the lease then runs out.
  };
  const startedAt = Date.now();
  const count = (): void => {
    const instances = metrics.gauge('fn_instances');
    instances.reset();
    for (const { record } of manager.all) instances.inc({ state: record.state });
    metrics.gauge('fn_pool_sandboxes').set(pool.size);
  };
  const collect = (): Promise<void> =>
    images
      .collect(() =>
        [...snapshot.values('revision'), ...manager.all.map(({ revision }) => revision)].map(({ image }) => image),
      )
      .catch((error: unknown) => log.warn({ err: error }, 'layers not collected'));
  await lease();
  void collect();
  const collecting = setInterval(() => orphans.collect(), ORPHANS_EVERY);
  const timers = [
    setInterval(() => void lease(), LEASE_EVERY),
    setInterval(count, COUNT_EVERY),
    setInterval(() => manager.checkMemory(), MEMORY_CHECK_EVERY),
    setInterval(
      () => void networks.refresh().catch((error: unknown) => log.warn({ err: error }, 'network not refreshed')),
      SWEEP_EVERY,
    ),
    setInterval(() => void collect(), COLLECT_EVERY),
    setInterval(
      () => void sweep(host, log).catch((error: unknown) => log.warn({ err: error }, 'sweep failed')),
      SWEEP_EVERY,
    ),
  ];

  return {
    facts: () => ({ driver: driver.name, cgroup: cgroups.version, instances: manager.all.length, pool: pool.size }),
    async end(mode: EndMode, { released, hurry }: EndOptions) {
      for (const timer of timers) clearInterval(timer);
      if (mode === 'handover') {
        const finished = jobs.finish(AbortSignal.any([hurry, AbortSignal.timeout(config.drainWithin)]));
        await nodeJobs[Symbol.asyncDispose]();
        await Promise.all([manager.quiesce(config.startTimeout), pool.release()]);
        await beginnings[Symbol.asyncDispose]();
        await manager.releaseAll();
        await control[Symbol.asyncDispose]();
        await records.close(FLUSH_WITHIN);
        released();
        await finished; // Jobs that run here do so to their end; the next worker takes new ones.
        clearInterval(collecting);
        await snapshot[Symbol.asyncDispose]();
        return;
      }
      clearInterval(collecting);
      await jobs.finish(AbortSignal.any([hurry, AbortSignal.timeout(JOBS_WITHIN)]));
      await nodeJobs[Symbol.asyncDispose]();
      await beginnings[Symbol.asyncDispose]();
      await snapshot[Symbol.asyncDispose]();
      await Promise.all([manager.endAll('shutdown'), pool[Symbol.asyncDispose]()]);
      await control[Symbol.asyncDispose]();
      await sweep(host, log);
      await images.unmountAll();
      await networks.close();
      while (unmount(config.paths.sandboxes));
      decoy?.unmountOutside(config.paths.sandboxes);
      await cgroups.remove();
      await records.close(FLUSH_WITHIN);
      await store.delete('node', config.nodeId).catch(() => false);
    },
  };
}

/** Sandboxed processes reach the trees below with the rights of nobody: the way there must be searchable. */
async function prepareDirectories(config: Config): Promise<void> {
  const { home, run, images, layers, tasks, sandboxes, logs } = config.paths;
  for (const path of [home, layers, tasks, sandboxes]) await mkdir(path, { recursive: true, mode: 0o711 });
  for (const path of [images, logs]) await mkdir(path, { recursive: true, mode: 0o700 });
  await mkdir(run, { recursive: true, mode: 0o750 });
  await chown(run, 0, config.gatewayUid);
}

/** A mount made below a shared mount appears in every copy of it, also inside sandboxes that already run. */
async function shareMounts(path: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' ')[4]);
  if (!mounts.includes(path)) mount(path, path, null, MS_BIND);
  mount('none', path, null, MS_SHARED);
}

/** Tells the pool what is deployed, one change at a time: unpacking a new image takes a while. */
function poolDemand(
  images: Images,
  pool: Pool<InstanceOwner>,
  log: ServiceContext['log'],
): (snapshot: Snapshot) => void {
  let running: Promise<void> | undefined;
  let again = false;
  const run = async (snapshot: Snapshot): Promise<void> => {
    do {
      again = false;
      pool.want(await demands(images, snapshot, log));
    } while (again);
  };
  return (snapshot) => {
    if (running) again = true;
    else running = run(snapshot).finally(() => (running = undefined));
  };
}

async function demands(images: Images, snapshot: Snapshot, log: ServiceContext['log']): Promise<ClassDemand[]> {
  const live = snapshot
    .values('function')
    .flatMap(({ traffic, candidate }) => [
      ...traffic.map(({ revision }) => revision),
      ...(candidate ? [candidate.revision] : []),
    ])
    .map((id) => snapshot.get('revision', id))
    .filter((revision): revision is RevisionRecord => revision !== undefined);
  const found = await Promise.all(
    live.map(async ({ id, image, spec }) => {
      try {
        return [{ class: classOf({ spec }, await images.get(image)), max: spec.scale.max }];
      } catch (error) {
        log.warn({ err: error, revision: id }, 'image cannot be unpacked');
        return [];
      }
    }),
  );
  return found.flat();
}
