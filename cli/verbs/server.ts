/** `fn server`: runs the platform in the foreground until Ctrl-C or SIGTERM. */

import { loadConfig, unknownSettings } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';
import { INTERRUPTED } from '../interrupt.ts';
import { humanReporter, jsonReporter } from '../server/reporter.ts';
import { Supervisor } from '../server/supervisor.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: [
    'Runs a whole platform on this machine until Ctrl-C: a private Redis, a controller, a worker, a builder and a',
    'gateway. Each is started again if it ends. All state is in FN_HOME; several platforms run side by side with',
    'different FN_HOME, FN_GATEWAY_PORT and FN_API_PORT. docs/configuration.md lists every setting. Without a terminal,',
    'SIGHUP replaces all of them by new ones as "fn restart" does.',
  ].join('\n'),
  options: {
    examples: { type: 'boolean', help: 'Also deploy every example of functions/, and call each once' },
  },
  examples: [
    ['fn server', 'Gateway on 127.0.0.1:8080, control API on 127.0.0.1:8081, state in /var/lib/fn'],
    ['FN_HOME=/srv/fn FN_GATEWAY_PORT=9080 FN_API_PORT=9081 fn server', 'A second platform beside it'],
    ['fn server --json', 'Log as JSON lines on standard error, as without a terminal'],
  ],
  async run({ flags }) {
    if (process.getuid?.() !== 0) {
      throw new FnError('machine.unsupported', 'fn server makes containers and cgroups, which needs root', {
        hint: 'Run it with sudo: "sudo npm start", or "sudo ./fn server".',
      });
    }
    const config = loadConfig();
    const human = !flags.json && (process.stdout.isTTY || flags.examples === true);
    const reporter = human ? humanReporter() : jsonReporter(config.logLevel);
    // The terminal may go away (SIGHUP): nobody reads any more, but the end must go on in order.
    for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners('error').on('error', () => {});
    const supervisor = new Supervisor(config, reporter);
    const stop = new AbortController();
    const { promise: ended, resolve: onEnded } = Promise.withResolvers<void>();
    const requestEnd = (signal: NodeJS.Signals): void => {
      if (!stop.signal.aborted) {
        reporter.say('stopping');
        stop.abort();
        void supervisor.end().then(onEnded);
      } else if (signal === 'SIGINT') supervisor.force();
    };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, requestEnd);
    // With a terminal it means that the terminal has gone; a service manager means "take the new code".
    process.on('SIGHUP', (signal) => {
      if (process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY) requestEnd(signal);
      else void supervisor.replaceAll();
    });

    for (const { name, near } of unknownSettings(process.env)) {
      reporter.warn('settings', `${name} is no setting${near === undefined ? '' : `; did you mean ${near}?`}`);
    }
    reporter.say(`fn is starting in ${config.home}`);
    try {
      const platform = await supervisor.start();
      const { context, config: real } = platform;
      const https = real.tlsCert && ` and https on port ${real.tlsPort}`;
      reporter.say(`gateway ${context.gatewayUrl}${https}, control API ${context.apiUrl}`);
      if (flags.examples) {
        const { showExamples } = await import('../server/examples.ts');
        await showExamples(platform, reporter, stop.signal);
      }
    } catch (error) {
      await supervisor.end();
      if (stop.signal.aborted) return INTERRUPTED;
      throw error;
    }
    reporter.say('Ctrl-C stops everything.');
    await ended;
    return 0;
  },
});
