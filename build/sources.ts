import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { computeLineStarts, type Node, type SourceFile, SyntaxKind } from 'typescript/unstable/ast';
import {
  isArrowFunction,
  isAsExpression,
  isCallExpression,
  isClassDeclaration,
  isExportDeclaration,
  isFunctionExpression,
  isFunctionLikeDeclaration,
  isIdentifier,
  isImportDeclaration,
  isImportTypeNode,
  isInterfaceDeclaration,
  isLiteralTypeNode,
  isStringLiteral,
  isTypeAliasDeclaration,
  isVariableDeclaration,
} from 'typescript/unstable/ast/is';
import { API } from 'typescript/unstable/sync';

/**
 * The product's source files as TypeScript's own parser reads them: no tests, no generated code, no bench, no build.
 * TypeScript calls this programming interface unstable, so package.json pins its exact version.
 */

const root = fileURLToPath(new URL('..', import.meta.url));

export interface MeasuredFunction {
  readonly name: string;
  /** From the function's first line to its last. A function inside another one counts in both. */
  readonly lines: number;
}

export interface Source {
  /** From the repository's root, with `/`. */
  readonly path: string;
  /** A path from the repository's root for a file of ours, else the specifier as written. Each once, types included. */
  readonly imports: readonly string[];
  /** Functions that have a name: declarations, members of classes, and functions that a variable names. */
  readonly functions: readonly MeasuredFunction[];
  readonly exportedTypes: readonly string[];
  /** Casts to `never` and casts by way of `unknown`, as `line: text`. */
  readonly uncheckedCasts: readonly string[];
}

/** Parses every source file of the product, in 0.2 s. */
export function readSources(): readonly Source[] {
  const api = new API({ cwd: root });
  try {
    const configFile = join(root, 'build/tsconfig.shape.json');
    const [project] = api.updateSnapshot({ openProjects: [configFile] }).getProjects();
    if (project === undefined) throw new Error(`Expected TypeScript to open ${configFile}, but it opened no project.`);
    return project.rootFiles.map((name) => {
      const file = project.program.getSourceFile(name);
      if (file === undefined) throw new Error(`Expected TypeScript to parse ${name}, but it has no such file.`);
      return describeSource(relative(root, name), file);
    });
  } finally {
    api.close();
  }
}

/** Describes a parsed file. */
function describeSource(path: string, file: SourceFile): Source {
  const nodes = descendants(file);
  const lineAt = lineCounter(file.text);
  return {
    path,
    imports: [...new Set(nodes.flatMap(specifierOf))].map((specifier) => targetOf(path, specifier)),
    functions: nodes.flatMap((node) => measure(node, file, lineAt)),
    exportedTypes: file.statements.flatMap(exportedTypeOf),
    uncheckedCasts: nodes.filter(isUncheckedCast).map((node) => `${lineAt(node.end)}: ${node.getText(file)}`),
  };
}

function descendants(node: Node): readonly Node[] {
  const nodes: Node[] = [];
  const visit = (child: Node): undefined => {
    nodes.push(child);
    child.forEachChild(visit);
  };
  node.forEachChild(visit);
  return nodes;
}

/** The number of the line, from 1, at an offset of the text. */
function lineCounter(text: string): (offset: number) => number {
  const starts = computeLineStarts(text);
  return (offset) => {
    const next = starts.findIndex((start) => start > offset);
    return next === -1 ? starts.length : next;
  };
}

function specifierOf(node: Node): readonly string[] {
  const specifier = specifierNodeOf(node);
  return specifier !== undefined && isStringLiteral(specifier) ? [specifier.text] : [];
}

/** The specifier of `import …`, `export … from`, or `import('…')` as an expression or a type. */
function specifierNodeOf(node: Node): Node | undefined {
  if (isImportDeclaration(node) || isExportDeclaration(node)) return node.moduleSpecifier;
  if (isImportTypeNode(node)) return isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
  const isImportCall = isCallExpression(node) && node.expression.kind === SyntaxKind.ImportKeyword;
  return isImportCall ? node.arguments[0] : undefined;
}

function targetOf(path: string, specifier: string): string {
  return specifier.startsWith('.') ? join(dirname(path), specifier) : specifier;
}

function measure(node: Node, file: SourceFile, lineAt: (offset: number) => number): readonly MeasuredFunction[] {
  if (!isFunctionLikeDeclaration(node) || node.body === undefined) return [];
  const name = nameOf(node, file);
  if (name === undefined) return [];
  return [{ name, lines: lineAt(node.end) - lineAt(node.getStart(file)) + 1 }];
}

function nameOf(node: Node, file: SourceFile): string | undefined {
  if (isArrowFunction(node) || isFunctionExpression(node))
    return isVariableDeclaration(node.parent) ? node.parent.name.getText(file) : undefined;
  if (node.kind === SyntaxKind.Constructor) return 'constructor';
  return 'name' in node && node.name !== undefined ? (node.name as Node).getText(file) : undefined; // Names are nodes.
}

function exportedTypeOf(statement: Node): readonly string[] {
  const declaresType =
    isInterfaceDeclaration(statement) || isTypeAliasDeclaration(statement) || isClassDeclaration(statement);
  if (!declaresType || statement.name === undefined || !isIdentifier(statement.name)) return [];
  const isExported = statement.modifiers?.some(({ kind }) => kind === SyntaxKind.ExportKeyword) ?? false;
  return isExported ? [statement.name.text] : [];
}

/** Whether a node is `x as never` or `x as unknown as T`, which the compiler does not check. */
function isUncheckedCast(node: Node): boolean {
  if (!isAsExpression(node)) return false;
  const isCastToUnknown = isAsExpression(node.expression) && node.expression.type.kind === SyntaxKind.UnknownKeyword;
  return node.type.kind === SyntaxKind.NeverKeyword || isCastToUnknown;
}
