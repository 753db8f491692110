import { describe, expect, test } from 'vitest';
import { isFolder, parseHubReference, referenceText } from '../../../checkpoint/hub/reference.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

describe('parseHubReference', () => {
  test.each([
    ['Salesforce/blip-image-captioning-large', 'Salesforce/blip-image-captioning-large', 'main'],
    ['Salesforce/blip-image-captioning-large@refs/pr/18', 'Salesforce/blip-image-captioning-large', 'refs/pr/18'],
    ['a/b@v1.0', 'a/b', 'v1.0'],
    ['_o/n_@c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00', '_o/n_', 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00'],
    ['a/b@feature@2', 'a/b', 'feature@2'],
  ])('%s', (text, name, revision) => {
    const reference = parseHubReference(text);
    expect(reference).toEqual({ name, revision });
    expect(parseHubReference(referenceText(reference))).toEqual(reference);
  });

  test('a revision may be given apart', () => {
    expect(parseHubReference('a/b', 'refs/pr/1')).toEqual({ name: 'a/b', revision: 'refs/pr/1' });
    expectCheckpointError(() => parseHubReference('a/b@v1', 'v2'), 'CHECKPOINT_NOT_FOUND', ['v2']);
  });

  test.each([
    '',
    'folder',
    './folder',
    '../a/b',
    '/a/b',
    'a/b/c',
    'a//b',
    'a/b/',
    'a/.b',
    'a/b.',
    'a/-b',
    'a/b-',
    'a/b--c',
    'a/b..c',
    'a/b.git',
    'a\\b',
    'a/b c',
    'a/b?c=d',
    'a/b#c',
    'ä/b',
    `a/${'b'.repeat(95)}`,
    'https://huggingface.co/a/b',
  ])('%j is no name of the Hub', (text) => {
    expectCheckpointError(() => parseHubReference(text), 'CHECKPOINT_NOT_FOUND', [text, 'OWNER/NAME']);
  });

  test.each([
    '',
    '..',
    '../x',
    'a/../b',
    'a..b',
    '/a',
    'a/',
    'a//b',
    '.a',
    'a.',
    'a.lock',
    'a b',
    'a?b',
    'a\\b',
    'a:b',
    'a\0b',
  ])('%j is no revision', (revision) => {
    expectCheckpointError(() => parseHubReference(`a/b@${revision}`), 'CHECKPOINT_NOT_FOUND', ['revision']);
  });
});

test('isFolder', () => {
  const folder = temporaryFolder({ file: '' });
  expect(isFolder(folder)).toBe(true);
  for (const path of [`${folder}/file`, `${folder}/none`, `${folder}/file/below`, '', 'a\0b', 'x'.repeat(5000)]) {
    expect(isFolder(path)).toBe(false);
  }
});
