// Objects against TypeScript's declarations of their kinds. As literals, so that a field nobody knows is an error, which the JSON schemas of these packages let pass.
import { join } from 'node:path';
import ts from 'typescript';

/** What `objects`, pairs of a name and an object, get wrong about `type` of `module`; one sentence each. */
export function typeProblems(folder, entries) {
  const file = join(folder, 'objects.virtual.ts');
  const lines = entries.map(({ module, type, value }, i) => `import type { ${type} as T${i} } from '${module}'; export const o${i}: T${i} = ${JSON.stringify(value, null, 1)};`);
  const source = lines.join('\n');
  const options = {
    noEmit: true, strict: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, types: [],
    module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (path) => path === file || fileExists(path);
  host.getSourceFile = (path, ...rest) => (path === file ? ts.createSourceFile(path, source, ts.ScriptTarget.ES2022) : getSourceFile(path, ...rest));
  const program = ts.createProgram([file], options, host);
  const starts = lines.reduce((all, line) => [...all, all.at(-1) + line.split('\n').length], [0]);
  return ts.getPreEmitDiagnostics(program).map((problem) => {
    const message = ts.flattenDiagnosticMessageText(problem.messageText, ' ');
    if (problem.file?.fileName !== file) {
      return `${problem.file?.fileName ?? 'compiler'}: ${message}`;
    }
    const { line } = problem.file.getLineAndCharacterOfPosition(problem.start);
    const index = starts.findLastIndex((start) => start <= line);
    return `${entries[index].name}: ${source.split('\n')[line].trim()}: ${message}`;
  });
}
