/** Every program of the system that fn uses, and why. The only list: the set-up installs from it, docs/install.md is checked
 *  against it. */

/** @typedef {'start' | 'test' | 'bench'} Purpose */

/** @typedef {object} Requirement
 *  @property {string} package its name in Debian and Ubuntu
 *  @property {readonly string[]} programs any one of these will do
 *  @property {readonly string[]} [files] or any one of these files
 *  @property {string} why
 *  @property {readonly Purpose[]} for
 *  @property {{ readonly dnf: string, readonly pacman: string, readonly apk: string }} elsewhere names in Fedora, Arch, Alpine
 */

/** @type {readonly Purpose[]} */
const ALWAYS = ['start', 'test', 'bench'];

/** @param {string} name @returns {Requirement['elsewhere']} */
const same = (name) => ({ dnf: name, pacman: name, apk: name });

/** @type {readonly Requirement[]} */
export const REQUIREMENTS = [
  {
    package: 'redis-server',
    programs: ['valkey-server', 'redis-server'],
    why: 'keeps state and queues',
    for: ALWAYS,
    elsewhere: same('valkey'),
  },
  { package: 'crun', programs: ['crun', 'runc'], why: 'runs the containers', for: ALWAYS, elsewhere: same('crun') },
  {
    package: 'tini',
    programs: ['tini-static'],
    why: 'is process 1 in each container',
    for: ALWAYS,
    elsewhere: { dnf: 'tini-static', pacman: 'tini', apk: 'tini-static' },
  },
  {
    package: 'ca-certificates',
    programs: [],
    files: ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'],
    why: 'are put into the base image',
    for: ALWAYS,
    elsewhere: same('ca-certificates'),
  },
  {
    package: 'nftables',
    programs: ['nft'],
    why: 'limits what functions may connect to',
    for: ALWAYS,
    elsewhere: same('nftables'),
  },
  {
    package: 'iproute2',
    programs: ['ip'],
    why: 'connects functions to the network',
    for: ALWAYS,
    elsewhere: { dnf: 'iproute', pacman: 'iproute2', apk: 'iproute2' },
  },
  {
    package: 'containernetworking-plugins',
    programs: [],
    files: ['/usr/lib/cni/ptp', '/opt/cni/bin/ptp', '/usr/libexec/cni/ptp'],
    why: 'connect functions to the network',
    for: ALWAYS,
    elsewhere: { dnf: 'containernetworking-plugins', pacman: 'cni-plugins', apk: 'cni-plugins' },
  },
  {
    package: 'runc',
    programs: ['runc'],
    why: 'is tested beside crun',
    for: ['test', 'bench'],
    elsewhere: same('runc'),
  },
  { package: 'skopeo', programs: ['skopeo'], why: 'checks the images', for: ['test'], elsewhere: same('skopeo') },
  { package: 'umoci', programs: ['umoci'], why: 'checks the images', for: ['test'], elsewhere: same('umoci') },
  {
    package: 'podman',
    programs: ['podman'],
    why: 'runs the images by themselves',
    for: ['test', 'bench'],
    elsewhere: same('podman'),
  },
  {
    package: 'nginx',
    programs: ['nginx'],
    why: 'is what the gateway is compared with',
    for: ['test', 'bench'],
    elsewhere: same('nginx'),
  },
  {
    package: 'openssl',
    programs: ['openssl'],
    why: 'makes certificates',
    for: ['test'],
    elsewhere: same('openssl'),
  },
  { package: 'curl', programs: ['curl'], why: 'is a client of the gateway', for: ['test'], elsewhere: same('curl') },
  {
    package: 'slowhttptest',
    programs: ['slowhttptest'],
    why: 'attacks the gateway slowly',
    for: ['test'],
    elsewhere: same('slowhttptest'),
  },
  {
    package: 'prometheus',
    programs: ['promtool'],
    why: 'checks the metrics',
    for: ['test'],
    elsewhere: { dnf: 'golang-github-prometheus', pacman: 'prometheus', apk: 'prometheus' },
  },
  { package: 'wrk', programs: ['wrk'], why: 'makes load', for: ['bench'], elsewhere: same('wrk') },
  {
    package: 'qemu-system-x86',
    programs: ['qemu-system-x86_64'],
    why: 'boots a machine with cgroup v2',
    for: ['test'],
    elsewhere: { dnf: 'qemu-system-x86-core', pacman: 'qemu-system-x86', apk: 'qemu-system-x86_64' },
  },
];
