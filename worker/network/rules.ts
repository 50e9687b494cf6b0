/** The packet filter, as text for nft(8). Two tables: one in the platform's router namespace says where each policy's
 *  sandboxes may go; one on the machine lets the router out and keeps it away from the machine. The first still holds when
 *  someone flushes the machine's rules. Pure: a golden test shows every change. */

import { SANDBOX_RESOLVER } from '../../core/egress.ts';
import { blockRange, INTERNAL_BLOCK, INTERNET_BLOCK, SANDBOX_RANGE } from './addresses.ts';

/** Interfaces of all platforms on the machine start with it. */
export const LINK_PREFIX = 'fn-';
/** The router's interface towards the machine. */
export const UPLINK = 'uplink';
/** Connections one sandbox may have open (or be opening) at a time: more fill the table all of them share. */
const CONNECTIONS = 512;

const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'];
/** Metadata services outside the link-local range: Alibaba's and Azure's. */
const METADATA = ['100.100.100.200/32', '168.63.129.16/32'];
/** No policy and no list opens these. */
const NEVER = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '192.0.0.0/24', '224.0.0.0/4', '240.0.0.0/4'];
/** At once, so that no function hangs until its timeout. A reset for TCP: the kernel sends only a few ICMP errors a second. */
const REFUSE = 'goto refuse';
const REFUSAL = chain('refuse', '', [
  'meta l4proto tcp reject with tcp reset',
  'reject with icmpx type admin-prohibited',
]);

export interface ListRule {
  readonly block: number;
  /** IPv4 addresses and ranges. */
  readonly ranges: readonly string[];
  /** It has names, so its sandboxes need to resolve them. */
  readonly resolves: boolean;
}

export function routerRules(resolver: string | undefined, lists: readonly ListRule[]): string {
  const policies = [
    { block: INTERNET_BLOCK, name: 'internet' },
    { block: INTERNAL_BLOCK, name: 'internal' },
    ...lists.map(({ block }) => ({ block, name: `list_${block}` })),
  ];
  const resolving = [INTERNET_BLOCK, INTERNAL_BLOCK, ...lists.filter((one) => one.resolves).map(({ block }) => block)];
  const dnat = `ip saddr { ${resolving.map(blockRange).join(', ')} } ip daddr ${SANDBOX_RESOLVER} meta l4proto { tcp, udp } th dport 53 dnat ip to ${resolver}`;
  return table('fn', [
    set('never', [...NEVER, ...METADATA, SANDBOX_RANGE]),
    set('private', PRIVATE),
    ...lists.map(({ block, ranges }) => set(`list_${block}`, ranges)),
    'set connections { type ipv4_addr; size 65535; flags dynamic; }',
    // Where a sandbox's packets come from must be where its address is: no other source leaves its interface.
    chain('prerouting', 'type filter hook prerouting priority raw; policy accept;', ['fib saddr . iif oif 0 drop']),
    chain('resolver', 'type nat hook prerouting priority dstnat; policy accept;', resolver ? [dnat] : []),
    chain('input', 'type filter hook input priority filter; policy drop;', [`iifname != "${UPLINK}" ${REFUSE}`]),
    // Every packet that goes out is judged, not only the first of a connection: what a list no longer names is cut off.
    chain('forward', 'type filter hook forward priority filter; policy drop;', [
      'ct state invalid drop', // These would leave untranslated.
      `iifname "${UPLINK}" ct state { established, related } accept`,
      `ct state new add @connections { ip saddr ct count over ${CONNECTIONS} } ${REFUSE}`,
      'ct status dnat accept', // Only the resolver's.
      `ip daddr @never ${REFUSE}`,
      `ip saddr vmap { ${policies.map(({ block, name }) => `${blockRange(block)} : jump ${name}`).join(', ')} }`,
      REFUSE,
    ]),
    REFUSAL,
    chain('internet', '', ['ip daddr != @private accept']),
    chain('internal', '', ['ip daddr @private accept']),
    ...lists.map(({ block }) => chain(`list_${block}`, '', [`ip daddr @list_${block} accept`])),
    chain('postrouting', 'type nat hook postrouting priority srcnat; policy accept;', [
      `oifname "${UPLINK}" masquerade`,
    ]),
  ]);
}

export interface MachineLink {
  /** The interface on the machine, and the name of the table. */
  readonly name: string;
  /** Address of the router's end. */
  readonly router: string;
}

export function machineRules(link: MachineLink, resolver: string | undefined): string {
  const from = `iifname "${link.name}"`;
  const dns = resolver ? [`${from} ip daddr ${resolver} meta l4proto { tcp, udp } th dport 53 accept`] : [];
  const translated = resolver ? `ct status dnat ct original ip daddr != ${resolver}` : 'ct status dnat';
  return table(tableOf(link.name), [
    chain('input', 'type filter hook input priority filter; policy accept;', [...dns, `${from} ${REFUSE}`]),
    chain('forward', 'type filter hook forward priority filter; policy accept;', [
      // A port that the machine publishes for a container is the machine's too.
      `${from} ${translated} ${REFUSE}`,
      `${from} tcp flags syn tcp option maxseg size set rt mtu`,
    ]),
    chain('postrouting', 'type nat hook postrouting priority srcnat; policy accept;', [
      `ip saddr ${link.router} masquerade`,
    ]),
    REFUSAL,
  ]);
}

export function tableOf(link: string): string {
  return link.replace('-', '_');
}

/** Shared by all platforms: the interfaces we made forward packets, and that they still do so for nobody else. The table
 *  is also the record of what to undo, and gone after a reboot as the settings are. */
export const FORWARDING_TABLE = 'fn_forwarding';
export const FORWARDING_SET = 'interfaces';

/** Adds; what is there stays. */
export function forwardingRules(interfaces: readonly string[]): string {
  return [
    `table inet ${FORWARDING_TABLE} {`,
    `  set ${FORWARDING_SET} { type ifname; }`,
    '  chain forward {',
    '    type filter hook forward priority filter; policy accept;',
    '  }',
    '}',
    `flush chain inet ${FORWARDING_TABLE} forward`,
    `add rule inet ${FORWARDING_TABLE} forward iifname @${FORWARDING_SET} oifname != "${LINK_PREFIX}*" drop`,
    `add element inet ${FORWARDING_TABLE} ${FORWARDING_SET} { ${interfaces.map((name) => `"${name}"`).join(', ')} }`,
    '',
  ].join('\n');
}

/** Replaces the table, whatever it was, in one transaction. */
function table(name: string, parts: readonly string[]): string {
  return `table inet ${name}\ndelete table inet ${name}\ntable inet ${name} {\n  ${parts.join('\n  ')}\n}\n`;
}

function set(name: string, ranges: readonly string[]): string {
  const elements = ranges.length > 0 ? ` elements = { ${ranges.join(', ')} }` : '';
  return `set ${name} { type ipv4_addr; flags interval; auto-merge;${elements}\n  }`;
}

function chain(name: string, hook: string, rules: readonly string[]): string {
  return [`chain ${name} {`, ...[hook, ...rules].filter(Boolean).map((line) => `  ${line}`), '}'].join('\n  ');
}
