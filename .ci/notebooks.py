#!/usr/bin/env python3
"""The book's own tools: notebooks.py run [--slow] [NOTEBOOK …] | readme | check | test

run     run notebooks in place and keep their outputs; cells flagged slow or gpu only with --slow
readme  render README.md (and index_files/) from nbs/index.ipynb
check   modules, clean notebooks and README in step with their sources, nbs/_quarto.yml a link
test    check, then the tests of every notebook; ends with one line 'N passed, M failed'
"""
import base64, filecmp, json, os, re, shutil, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.chdir(ROOT)

def notebooks(): return sorted(p for p in Path('nbs').glob('*.ipynb') if not p.name.startswith('_'))

def run_one(path, slow):
    "Run a notebook in a fresh process, in place; skipped cells keep their outputs."
    from execnb.nbio import read_nb, write_nb
    from execnb.shell import CaptureShell
    from nbdev.clean import clean_nb
    from nbdev.config import get_config
    from nbdev.process import NBProcessor
    path = Path(path).resolve()
    nb, flags = read_nb(path), set(get_config().tst_flags.split()) - ({'slow'} if slow else set())
    directives = [c.directives_.keys() for c in NBProcessor(path, rm_directives=False).nb.cells]
    shell = CaptureShell(path, mpl_format='png')
    os.chdir(path.parent)
    try:
        for c, d in zip(nb.cells, directives):
            if c.cell_type != 'code' or flags & d or any(k.startswith('eval') for k in d): continue
            c.outputs = []
            shell.cell(c)
            if shell.exc: sys.exit(shell.prettytb(path))
    finally: os.chdir(ROOT)
    clean_nb(nb); write_nb(nb, path)

def run(args):
    slow = '--slow' in args
    for p in [a for a in args if a != '--slow'] or notebooks():
        start = time.time()
        subprocess.run([sys.executable, __file__, 'run-one', str(p), *(['--slow'] if slow else [])], check=True)
        print(f'{p}  {time.time()-start:.0f} s', flush=True)

def render(dest):
    "README.md and index_files/ of the index notebook, under `dest`."
    from nbdev.config import get_config
    from nbdev.serve import proc_nbs
    cfg = get_config()
    cells = json.loads((proc_nbs(n_workers=0)/cfg.readme_nb).read_text(encoding='utf-8'))['cells']
    front = ''.join(cells[0]['source'])
    head = lambda key: (m := re.search(rf'^{key}: (.*)$', front, re.M)) and m[1].strip('"\'')
    parts, files = [f"# {head('title')}"] + ([f"> {head('description')}"] if head('description') else []), dest/'index_files'
    for i, c in enumerate(cells[1:]):
        src = ''.join(c['source'])
        if c['cell_type'] == 'markdown': parts.append(src)
        if c['cell_type'] != 'code' or 'include: false' in src: continue
        code = re.sub(r'^#\|.*\n?', '', src, flags=re.M).strip()
        if code and 'echo: false' not in src: parts.append(f'```python\n{code}\n```')
        for j, o in enumerate(c.get('outputs', [])):
            data = o.get('data', {})
            kind = next((k for k in ('image/png', 'image/jpeg', 'image/gif', 'image/webp') if k in data), None)
            if 'text/markdown' in data: parts.append(''.join(data['text/markdown']))
            elif kind:
                files.mkdir(exist_ok=True, parents=True)
                name = f"{i}-{j}.{kind.split('/')[1]}"
                (files/name).write_bytes(base64.b64decode(''.join(data[kind])))
                parts.append(f'![](index_files/{name})')
            elif text := ''.join(o.get('text', []) or data.get('text/plain', [])).rstrip(): parts.append(f'```\n{text}\n```')
    (dest/'README.md').write_text('\n\n'.join(parts) + '\n', encoding='utf-8')

def readme():
    shutil.rmtree('index_files', ignore_errors=True)
    render(ROOT)

def same(a, b):
    "Files that differ between two folders."
    names = {p.relative_to(x) for x in (a, b) for p in x.rglob('*') if p.is_file() and '__pycache__' not in p.parts}
    return [str(n) for n in sorted(names) if not ((a/n).is_file() and (b/n).is_file() and filecmp.cmp(a/n, b/n, shallow=False))]

def check():
    "Each thing that is generated is generated again in a copy and compared."
    wrong = []
    if not Path('nbs/_quarto.yml').is_symlink(): wrong.append('nbs/_quarto.yml is not a link to ../_quarto.yml')
    sidebar = Path('_quarto.yml').read_text()
    wrong += [f'{p.name} is not in the sidebar of _quarto.yml' for p in notebooks() if p.name not in sidebar]
    with tempfile.TemporaryDirectory() as d:
        copy = Path(d)/'copy'
        copy.mkdir()
        for p in ROOT.iterdir(): # what the project consists of, without environments and runs
            if p.name in ('nbs', 'vlatent', 'index_files'): shutil.copytree(p, copy/p.name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
            elif p.is_file(): shutil.copy(p, copy/p.name)
        shutil.copytree(ROOT/'.ci', copy/'.ci')
        tool = lambda name: subprocess.run([str(Path(sys.executable).parent/name)], cwd=copy, check=True, stdout=subprocess.DEVNULL)
        tool('nbdev_export')
        wrong += [f'vlatent/{f} is not what nbdev_export makes' for f in same(Path('vlatent'), copy/'vlatent')]
        tool('nbdev_clean')
        wrong += [f'nbs/{f} is not clean (nbdev_clean)' for f in same(Path('nbs'), copy/'nbs') if f.endswith('.ipynb')]
        subprocess.run([sys.executable, '.ci/notebooks.py', 'readme'], cwd=copy, check=True, stdout=subprocess.DEVNULL)
        if not filecmp.cmp('README.md', copy/'README.md', shallow=False): wrong.append('README.md is not what nbs/index.ipynb renders to')
        wrong += [f'index_files/{f} differs from nbs/index.ipynb' for f in same(Path('index_files'), copy/'index_files')]
    for w in wrong: print('check:', w)
    return not wrong

def test_one(path):
    "The tests of one notebook, in this process."
    from nbdev.test import test_nb
    from nbdev.config import get_config
    path = Path(path).resolve()
    return test_nb(path, skip_flags=get_config().tst_flags.split(), basepath=path.parent)[0]

def test():
    def in_process(path):
        start = time.time()
        p = subprocess.run([sys.executable, '-W', 'ignore', __file__, 'test-one', str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return path.name, p.returncode == 0, time.time()-start, p.stdout
    passed = [check()]
    print('check', 'ok' if passed[0] else 'FAILED', flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, ok, seconds, said in pool.map(in_process, notebooks()):
            passed.append(ok)
            if not ok: print(said)
            print(f"{name:28s} {'ok' if ok else 'FAILED'}  {seconds:.0f} s", flush=True)
    print(f'{sum(passed)} passed, {len(passed)-sum(passed)} failed')
    return all(passed)

if __name__ == '__main__':
    match sys.argv[1:]:
        case ['run', *args]: run(args)
        case ['run-one', path, *args]: run_one(path, '--slow' in args)
        case ['readme']: readme()
        case ['check']: sys.exit(not check())
        case ['test']: sys.exit(not test())
        case ['test-one', path]: sys.exit(not test_one(path))
        case _: sys.exit(__doc__)
