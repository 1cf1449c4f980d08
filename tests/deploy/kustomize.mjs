// Renders an overlay. kubectl or kustomize does it where there is one; else `render`, which knows what our files use: resources, components,
// labels, images, one strategic merge patch a file, generated config maps. Where both exist check.mjs compares them.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';

const documents = (text) => parseAllDocuments(text).map((document) => document.toJS()).filter(Boolean);

/** The objects of an overlay as the real program makes them; null without one. */
export function renderByProgram(folder) {
  for (const [program, ...args] of [['kubectl', 'kustomize', folder], ['kustomize', 'build', folder]]) {
    try {
      return documents(execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26 }));
    } catch (error) {
      if (error.code !== 'ENOENT') {
        throw new Error(`${program} ${args.join(' ')}: ${error.stderr ?? error.message}`);
      }
    }
  }
  return null;
}

/** The same objects by ourselves, in any order. Throws where a kustomization uses what is not known here. */
export function render(folder, objects = []) {
  const file = join(folder, 'kustomization.yaml');
  const { apiVersion, kind, resources = [], components = [], labels = [], images = [], patches = [], configMapGenerator = [], ...unknown } =
    parse(readFileSync(file, 'utf8'));
  if (Object.keys(unknown).length > 0) {
    throw new Error(`${file}: ${Object.keys(unknown)} is not known to tests/deploy/kustomize.mjs; install kubectl or teach it`);
  }

  let own = [];
  for (const resource of resources) {
    const path = join(folder, resource);
    own.push(...(statSync(path).isDirectory() ? render(path) : documents(readFileSync(path, 'utf8'))));
  }
  for (const { name, files, options } of configMapGenerator) {
    const data = Object.fromEntries(files.map((path) => [basename(path), readFileSync(join(folder, path), 'utf8')]));
    own.push({ apiVersion: 'v1', data, kind: 'ConfigMap', metadata: { labels: options.labels, name } });
  }
  for (const object of own) {
    for (const { pairs } of labels) {
      object.metadata.labels = { ...object.metadata.labels, ...pairs };
    }
  }
  own = [...objects, ...own];
  for (const component of components) {
    own = render(join(folder, component), own);
  }
  for (const { path } of patches) {
    const patch = parse(readFileSync(join(folder, path), 'utf8'));
    const index = own.findIndex((object) => object.kind === patch.kind && object.metadata.name === patch.metadata.name);
    if (index < 0) {
      throw new Error(`${join(folder, path)}: no ${patch.kind} ${patch.metadata.name} to patch`);
    }
    own[index] = merge(own[index], patch);
  }
  for (const { name, newTag } of images) {
    for (const container of own.flatMap((object) => object.spec?.template?.spec?.containers ?? []).filter((one) => one.image === name)) {
      container.image = `${name}:${newTag}`;
    }
  }
  return own;
}

// strategic merge: maps by key, lists by the key that Kubernetes gives them, other lists as a whole
const mergeKeys = { containers: 'name', env: 'name', volumes: 'name', volumeMounts: 'mountPath', ports: 'containerPort' };

function merge(base, patch, key) {
  if (Array.isArray(patch)) {
    const by = mergeKeys[key];
    if (!by || !Array.isArray(base)) {
      return patch;
    }
    const rest = patch.filter((item) => !base.some((other) => other[by] === item[by]));
    // the real program puts what is new first
    return [...rest, ...base.map((item) => merge(item, patch.find((other) => other[by] === item[by]) ?? {}))];
  }
  if (patch === null || typeof patch !== 'object' || base === undefined) {
    return patch;
  }
  return { ...base, ...Object.fromEntries(Object.entries(patch).map(([name, value]) => [name, merge(base[name], value, name)])) };
}

export const overlays = (root) => ['cpu', 'gpu'].map((name) => join(root, 'deploy/k8s/overlays', name)).filter(existsSync);
