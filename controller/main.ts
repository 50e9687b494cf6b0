/** The controller: brings observed state to desired state (reconcile.ts) and takes desired state from people (api/). Several
 *  may run; a queue gives each act to one of them. It keeps nothing that cannot be lost: with it down, what runs keeps
 *  running, and the next one starts from the store. */

import { ensureContext, urlOf } from '../core/context.ts';
import { ensureMasterKey, SecretBox } from '../core/secrets.ts';
import type { Service, ServiceContext } from '../core/service.ts';
import { createApi } from './api/app.ts';
import { listen } from './api/server.ts';
import { Deployer } from './deploy.ts';
import { Reconciler } from './reconcile.ts';
import { sweepUploads } from './uploads.ts';

export interface Controller extends Service {
  /** The port the API listens on; another than configured when that was 0. */
  readonly apiPort: number;
}

export async function startController(context: ServiceContext): Promise<Controller> {
  const { config } = context;
  const access = await ensureContext(config);
  const secrets = new SecretBox(await ensureMasterKey(config.paths.masterKey));
  await sweepUploads(config.paths.uploads, Date.now());
  await using stack = new AsyncDisposableStack();
  const reconciler = stack.use(await Reconciler.open(context));
  const deployer = stack.use(new Deployer(context, access, reconciler.view));
  const app = createApi({ context, access, reconciler, deployer, secrets });
  const api = stack.use(await listen(app, config));
  const owned = stack.move();
  return {
    apiPort: api.port,
    facts: () => ({ api: urlOf(config.apiHost, api.port), functions: reconciler.view.functions().length }),
    async end(mode, { hurry }) {
      // Deploys go on here to their end; meanwhile two controllers look after the functions, which is safe.
      if (mode === 'handover') await api.drain(AbortSignal.any([hurry, AbortSignal.timeout(config.drainWithin)]));
      await owned.disposeAsync();
    },
  };
}
