#!/usr/bin/env python3
"""The hard tests: what days of training and folders of other people's files do to this package.

    .ci/stress.py kill --n 50                     trainings die by SIGKILL at random moments and go on
    .ci/stress.py checkpoints --n 200             damaged checkpoints, and disks that fail while one is written
    .ci/stress.py videos --n 1000 --videos DIR    damaged variants of real clips get a verdict each
    .ci/stress.py memory --n 2000 --videos DIR    opening and reading files takes no memory for good
    .ci/stress.py half --videos DIR               training over a folder that is half damaged ends well
    .ci/stress.py files                           wrong and hostile files are refused with one line
    .ci/stress.py processes                       two processes learn what one does
    .ci/stress.py all --videos DIR                all of them

Each prints what went wrong as it happens and ends with a line of figures; the exit code is 1 if anything did. `--out FILE`
keeps a row for each case as CSV. The package is taken from where Python finds it. Linux only: it forks, and reads /proc.

Trainings run in forked children of this process, which has imported everything and has never computed anything, so a
run of twenty steps takes a second instead of six. What runs there is the console script itself, with its own arguments.
"""
import os
os.environ |= {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false'} # before numpy and torch
import argparse, configparser, csv, errno, hashlib, itertools, json, math, multiprocessing, pickle, random, re, resource
import runpy, shutil, signal, struct, subprocess, sys, tempfile, time, traceback, warnings, zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORK = multiprocessing.get_context('fork')


# ---- Results -------------------------------------------------------------------------------------------------------------

class Results:
    "Rows of cases; those that went wrong are printed at once."
    def __init__(self, out): self.out,self.rows,self.lines = out,[],[]

    def add(self, test, case, ok, outcome, **more):
        row = dict(test=test, case=case, ok=bool(ok), outcome=outcome, **more)
        self.rows.append(row)
        if not ok: print(f'{test}: FAILED: {case}: {outcome} {more or ""}', flush=True)
        if self.out: self.write()
        return ok

    def write(self):
        columns = list(dict.fromkeys(k for r in self.rows for k in r))
        with open(self.out, 'w', newline='', encoding='utf-8', errors='backslashreplace') as f:
            w = csv.DictWriter(f, columns)
            w.writeheader()
            w.writerows(self.rows)

    def verdict(self, test, figures):
        "The line of a test."
        rows = [r for r in self.rows if r['test']==test]
        bad = sum(not r['ok'] for r in rows)
        self.lines.append(f"{test}: {'ok' if rows and not bad else 'FAILED'}: {len(rows)} cases, {bad} failed; {figures}")
        print(self.lines[-1], flush=True)

def counts(rows, key='outcome'): return ', '.join(f'{n} {k}' for k,n in Counter(r[key] for r in rows).most_common())

def every(n, done, what):
    "A sign of life on long tests."
    if done and done%n==0: print(f'  … {done} {what}', flush=True)


# ---- Processes -----------------------------------------------------------------------------------------------------------

def members(group):
    "Living processes of a process group."
    found = []
    for p in Path('/proc').iterdir():
        try: state,_,pgrp = (p/'stat').read_text().rpartition(')')[2].split()[:3] if p.name.isdigit() else ('Z', 0, 0)
        except (OSError, ValueError): continue
        if state not in 'ZX' and int(pgrp)==group: found.append(int(p.name))
    return found

class Job:
    "A function in a forked process, or a command line in a new one; it leads a process group, and what it prints is kept."
    def __init__(self, target):
        self.files,self.start = [tempfile.TemporaryFile() for _ in range(2)],time.monotonic()
        if callable(target):
            self.process = FORK.Process(target=self._inside, args=(target,))
            self.process.start()
        else: self.process = subprocess.Popen(target, stdin=subprocess.DEVNULL, stdout=self.files[0], stderr=self.files[1], start_new_session=True)
        self.pid,self.hung,self.killed = self.process.pid,False,False

    def _inside(self, target):
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd,f in enumerate(self.files, 1): os.dup2(f.fileno(), fd)
        target()

    @property
    def code(self): return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    @property
    def seconds(self): return time.monotonic()-self.start

    def said(self, which=2):
        "What it has printed: 1 is standard output, 2 errors."
        f = self.files[which-1]
        return os.pread(f.fileno(), os.fstat(f.fileno()).st_size, 0).decode('utf-8', 'replace').replace('\r', '\n')

    def kill(self):
        "SIGKILL to the process alone: what it has started must end by itself."
        try: os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError: pass
        self.killed = True

    def wait(self, limit=600, until=None):
        "Wait for its end; `until()` is asked often, and kills it when it says so."
        while self.code is None:
            if self.seconds>limit:
                self.hung = True
                for pid in members(self.pid): os.kill(pid, signal.SIGKILL)
            elif until and until():
                self.kill()
                until = None
            time.sleep(.0005 if until else .01)
        if not isinstance(self.process, subprocess.Popen): self.process.join()
        return self

    def left(self, seconds=60):
        "Processes of its group that are still there after a while."
        end = time.monotonic()+seconds
        while (some := members(self.pid)) and time.monotonic()<end: time.sleep(.05)
        return some

def last(text):
    "The last line of what was printed."
    lines = [l for l in text.splitlines() if l.strip()]
    return lines[-1].strip() if lines else ''

def refused(job, name):
    "Whether a command has ended as it should when it cannot do what it was asked: code 2 and one line."
    mine = [l for l in job.said().splitlines() if l.startswith(f'{name}: ')]
    return (job.code==2 and not job.hung and 'Traceback' not in job.said()+job.said(1)
            and len(mine)==1 and last(job.said())==mine[0].strip() and len(mine[0])>len(name)+10)

def how(job):
    "The end of a job in words."
    if job.hung: return 'hangs'
    if job.code is not None and job.code<0: return f'killed by {signal.Signals(-job.code).name}'
    return f"exit {job.code}{' with a traceback' if 'Traceback' in job.said() else ''}: {last(job.said())[:300]}"

class Commands:
    "The console scripts of settings.ini, as files that can be run."
    def __init__(self, folder):
        folder.mkdir()
        settings = configparser.ConfigParser(interpolation=None)
        settings.read(ROOT/'settings.ini', encoding='utf-8')
        self.files = {}
        for entry in settings['DEFAULT']['console_scripts'].split():
            name,_,where = entry.partition('=')
            module,_,function = where.partition(':')
            self.files[name] = folder/f'{name}.py'
            self.files[name].write_text(f'import sys\nfrom {module} import {function}\nif __name__=="__main__": sys.exit({function}())\n')

    def __call__(self, name, *args, before=None, fresh=False):
        "Start a command, in a forked process or in a fresh interpreter; `before` is called in the forked one."
        line = [str(self.files[name]), *map(str, args)]
        if fresh: return Job([sys.executable, *line])
        def inside():
            if before: before()
            sys.argv = [name, *line[1:]]
            runpy.run_path(line[0], run_name='__main__')
        return Job(inside)

def warm():
    "Import what any command will, so that forked processes need not; nothing is computed."
    import importlib, pkgutil, torch, vlatent, accelerate
    import torch._dynamo, torch.profiler, torch.utils.checkpoint # the optimisers would import the first, for two seconds
    torch.set_num_threads(1)
    for m in pkgutil.iter_modules(vlatent.__path__): importlib.import_module(f'vlatent.{m.name}')
    print(f"vlatent {vlatent.__version__} in {os.path.relpath(Path(vlatent.__file__).parent.parent)}, torch {torch.__version__}", flush=True)

def resident(): return int(re.search(r'VmRSS:\s+(\d+)', Path('/proc/self/status').read_text())[1])*1024


# ---- Moments: counting what a process does to files, and ending or disturbing it at one of them ---------------------------

CHANGES = {'os.rename', 'os.remove', 'os.rmdir', 'os.mkdir', 'os.truncate', 'os.chmod', 'stress.fsync'}

def announce():
    "Make fsync and backward passes of this process audible too."
    import torch
    fsync,backward = os.fsync,torch.Tensor.backward
    def synced(fd):
        sys.audit('stress.fsync', fd)
        fsync(fd)
    def back(self, *args, **kwargs):
        backward(self, *args, **kwargs)
        sys.audit('stress.backward')
    if fsync.__name__!='synced': os.fsync,torch.Tensor.backward = synced,back

def moments(which, root, action):
    """In this process, call `action(number, path)` before each change to a file below `root` (which='files'), or after each
    backward pass (which='backward'). Python itself announces most of them."""
    pid,numbers,root = os.getpid(),itertools.count(1),str(root)
    def hook(event, args):
        if which=='backward': mine,path = event=='stress.backward',None
        elif event=='open': mine,path = args[2] & (os.O_WRONLY|os.O_RDWR),args[0]
        else: mine,path = event in CHANGES,args[0] if args else None
        if not mine or os.getpid()!=pid: return # data workers are other processes
        path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else None
        if path is None or path.startswith(root) or not os.path.isabs(path): action(next(numbers), path)
    announce()
    sys.addaudithook(hook)

def dies(which, root, k):
    "What to do before a command so that it is killed at the k-th moment."
    def action(number, path):
        if number==k: os.kill(os.getpid(), signal.SIGKILL)
    return lambda: moments(which, root, action)


# ---- Comparing runs ------------------------------------------------------------------------------------------------------

TIMES = re.compile('second|time|memory|speed|_gb|per_s') # columns of a log, and keys of a state, that no two runs share

def digest(path): return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()

def equal(a, b):
    "Whether two values of nested dicts, lists and tensors are bit-equal, times aside."
    import torch
    if torch.is_tensor(a): return torch.is_tensor(b) and a.dtype==b.dtype and a.shape==b.shape and a.numpy().tobytes()==b.numpy().tobytes()
    if isinstance(a, dict):
        keys = lambda d: {k for k in d if not TIMES.search(str(k))}
        return isinstance(b, dict) and keys(a)==keys(b) and all(equal(a[k], b[k]) for k in keys(a))
    if isinstance(a, (list, tuple)): return isinstance(b, (list, tuple)) and len(a)==len(b) and all(map(equal, a, b))
    return a==b or a!=a and b!=b

def same(a, b):
    "Whether two files hold the same: in bytes, or in what they say."
    if digest(a)==digest(b): return True
    from safetensors.torch import load_file
    import torch
    read = {'.safetensors': load_file, '.json': lambda p: json.loads(p.read_text()),
            '.pt': lambda p: torch.load(p, weights_only=True, map_location='cpu')}.get(a.suffix)
    if a.name=='manifest.json': return read(a).keys()==read(b).keys()
    return bool(read) and equal(read(a), read(b))

def log_rows(run):
    try: text = (run/'log.csv').read_text()
    except FileNotFoundError: return []
    return [{k: v for k,v in r.items() if v and not TIMES.search(k)} for r in csv.DictReader(text.splitlines())]

def differences(run, reference):
    "What of a run is not as in the one that was never disturbed; that one keeps all its checkpoints."
    found,names = [],lambda d: {p.relative_to(d) for p in d.rglob('*') if p.is_file()} if d.is_dir() else set()
    steps = sorted(p.name for p in (reference/'checkpoints').iterdir())
    mine = sorted(p.name for p in (run/'checkpoints').glob('*')) if (run/'checkpoints').is_dir() else []
    if not mine or mine!=steps[-len(mine):]: found.append(f'checkpoints {mine}')
    folders = {p.parent.relative_to(reference) for p in reference.glob('*/config.json')}
    for folder in [Path('checkpoints')/s for s in mine if s in steps] + sorted(folders):
        a,b = names(run/folder),names(reference/folder)
        found += [f'{folder}/{n} is there in one only' for n in sorted(a^b)]
        found += [f'{folder}/{n} differs' for n in sorted(a&b) if not same(run/folder/n, reference/folder/n)]
    for name in ('data.csv', 'latents.safetensors'):
        if (reference/name).exists() and not ((run/name).exists() and same(run/name, reference/name)): found.append(f'{name} differs')
    a,b = log_rows(run),log_rows(reference)
    if a!=b:
        apart = next((f"at step {y.get('step')}: {k} is {x.get(k)}, not {y.get(k)}" for x,y in zip(a, b) for k in sorted(x.keys()|y.keys()) if x.get(k)!=y.get(k)), '')
        found.append(f'log.csv differs, {len(a)} rows, not {len(b)}; {apart}')
    if lacking := names(reference/'samples')-names(run/'samples'): found.append(f"samples lack {', '.join(map(str, sorted(lacking)))}")
    if litter := [str(p.relative_to(run)) for p in run.rglob('.*.tmp.*')]: found.append(f"half-written {', '.join(litter)}")
    return found


# ---- Trainings -----------------------------------------------------------------------------------------------------------

class Story:
    "A training that can be started, disturbed and resumed, and how it went without disturbance."
    def __init__(self, commands, folder, recipe, data, settings, autoencoder=None):
        self.commands,self.folder,self.recipe,self.data = commands,folder,recipe,data
        self.settings,self.autoencoder = settings,autoencoder
        self.reference = folder/'reference'
        folder.mkdir(parents=True)

    def start(self, out, workers=0, changes={}, **how):
        sets = [x for k,v in {**self.settings, **changes}.items() for x in ('--set', f'{k}={json.dumps(v)}')]
        first = ['--autoencoder', self.autoencoder] if self.autoencoder else []
        return self.commands('vlatent_train', self.recipe, '--data', self.data, '--out', out, '--device', 'cpu', '--workers', workers, *first, *sets, **how)

    def resume(self, out, workers=0, **how):
        return self.commands('vlatent_train', '--resume', '--out', out, '--device', 'cpu', '--workers', workers, **how)

    def measure(self):
        "The run without disturbance; all its checkpoints are kept. How long it takes, and how much it does."
        counted,when = FORK.Array('i', 2),FORK.Array('d', 2) # changes to files, backward passes; seconds to the first step and to the end
        def before():
            begin = time.monotonic()
            def backward(number, path):
                counted[1] = number
                if number==1: when[0] = time.monotonic()-begin
            def files(number, path): counted[0],when[1] = number,time.monotonic()-begin
            moments('files', self.folder, files)
            moments('backward', self.folder, backward)
        job = self.start(self.reference, changes={'train.keep': 1000}, before=before).wait()
        if job.code: raise SystemExit(f'{self.recipe} on {self.data} does not train: {how(job)}\n{job.said()[-2000:]}')
        self.changes,self.backwards,self.first,self.seconds = *counted,*when
        assert self.changes and self.backwards, 'no moments to disturb it at'
        self.steps = {p.name: {f.name: digest(f) for f in p.iterdir()} for p in sorted((self.reference/'checkpoints').iterdir())}
        return self

    def half_written(self, run):
        "Checkpoints of a run that stand under their final name and are not what they should be."
        bad = []
        for folder in run.glob('checkpoints/step_*'):
            there,wanted = {f.name: digest(f) for f in folder.iterdir()},self.steps.get(folder.name, {})
            if there.keys()!=wanted.keys() or not all(h==wanted[n] or same(folder/n, self.reference/'checkpoints'/folder.name/n) for n,h in there.items()):
                bad.append(folder.name)
        return bad

def stories(commands, work, seed):
    "Both stages, adversarial and not, on shapes and on files, with and without cached latents."
    videos = work/'videos'
    def write():
        from vlatent.data import write_shapes
        write_shapes(videos, 12, frames=16, size=16, seed=seed)
    Job(write).wait()
    times = {'train.steps': 24, 'train.batch_size': 4, 'train.accumulate': 2, 'train.save_every': 3, 'train.log_every': 2, 'train.show_every': 12, 'train.keep': 2}
    make = lambda recipe,data,more={},ae=None: Story(commands, work/f'story{next(number)}', recipe, data, {**times, **more}, ae).measure()
    number = itertools.count()
    first = make('tiny-ae', 'shapes:32')
    job = commands('vlatent_encode', videos, '--autoencoder', first.reference, '--out', work/'latents', '--shard_mb', .005, '--device', 'cpu').wait()
    if job.code: raise SystemExit(f'nothing encoded: {how(job)}')
    second = {'train.warmup': 3, 'train.final': .5}
    return [first, make('tiny-ae', videos, {'data.flip': True}), make('tiny-ae-gan', 'shapes:32'), make('tiny-ae-gan', videos, {'train.steps': 15}),
            make('tiny', 'shapes:32', second, first.reference), make('tiny', videos, second, first.reference),
            make('tiny', 'shapes:32', {'cache.n': 16}, first.reference), make('tiny', work/'latents', second, first.reference)]


# ---- kill ----------------------------------------------------------------------------------------------------------------

def kill(commands, work, results, n, seed, **_):
    "n kills, in groups of one to three on the way through one training."
    rng,all_stories = random.Random(seed),stories(commands, work, seed)
    kinds,hits,cases,fresh_seconds = ('time', 'start', 'accumulation', 'writing', 'files'),Counter(),itertools.count(),None

    def disturb(story, out, workers, kind, again):
        "Start (or go on with) the training and kill it; says whether it was hit, and how it ended."
        begin = story.resume if (out/'config.json').exists() else story.start
        share = .6 if again else 1. # a run that goes on has less to do
        if kind in ('accumulation', 'files'):
            k = rng.randrange(1, max(2, int(story.backwards*share)), 2) if kind=='accumulation' else rng.randint(1, int(story.changes*share))
            job = begin(out, workers, before=dies('backward' if kind=='accumulation' else 'files', story.folder, k)).wait()
        elif kind=='writing': # a temporary name is seen below checkpoints/, some moments later the file may be half there
            wanted,seen,delay = rng.randint(1, len(story.steps)//2),set(),rng.uniform(0, .004)
            def until():
                try: seen.update(x for x in os.listdir(out/'checkpoints') if '.tmp.' in x)
                except FileNotFoundError: return False
                if len(seen)>=wanted: time.sleep(delay)
                return len(seen)>=wanted
            job = begin(out, workers).wait(until=until)
        else:
            fresh = kind=='fresh' # a new interpreter: the command as people start it
            t = rng.uniform(0, fresh_seconds if fresh else story.first if kind=='start' else story.seconds*share)
            job = begin(out, workers, fresh=fresh)
            job.wait(until=lambda: job.seconds>t)
        return job

    t = time.monotonic()
    if how_fresh := all_stories[0].start(work/'fresh', fresh=True).wait().code: raise SystemExit(f'the command does not run: exit {how_fresh}')
    fresh_seconds = time.monotonic()-t
    order = [(s,w) for s in all_stories for w in (0, 2)]
    while hits.total()<n:
        case = next(cases)
        if case%len(order)==0: rng.shuffle(order)
        story,workers = order[case%len(order)]
        out,before = story.folder/f'run{case}',hits.total()
        plan = ['fresh' if case%10==9 else kinds[case%len(kinds)], *rng.choices(['start', 'time', 'files', 'accumulation'], k=rng.choice([0, 0, 1, 2]))]
        wrong,left,when = [],[],[]
        for i,kind in enumerate(plan):
            job = disturb(story, out, workers, kind, again=i>0)
            hit = job.code==-signal.SIGKILL
            hits[kind] += hit
            when.append(f'{kind}{"" if hit else " (missed)"}')
            if not hit and job.code: wrong.append(f'before the kill: {how(job)}')
            if bad := story.half_written(out): wrong.append(f"half-written under its final name: {', '.join(bad)}")
            left.append(job)
        begin = story.resume if (out/'config.json').exists() else story.start
        end = begin(out, workers).wait()
        if end.code==0: wrong += differences(out, story.reference)
        elif not refused(end, 'vlatent_train'): wrong.append(how(end))
        if some := [p for job in left for p in job.left()]: wrong.append(f'{len(some)} processes of the killed one live on')
        litter = [p.name for p in out.parent.glob(f'.*.tmp.{out.name}')]
        results.add('kill', f'{story.recipe} on {Path(str(story.data)).name}{" (cached)" if "cache.n" in story.settings else ""}, {workers} workers: {" → ".join(when)}', not wrong,
                    '; '.join(wrong) or ('bit-equal' if end.code==0 else 'refused'), kills=hits.total()-before, case_seed=f'{seed}/{case}',
                    refusal='' if end.code==0 else last(end.said()), litter=len(litter))
        shutil.rmtree(out, ignore_errors=True)
        every(10, case+1, f'trainings, {hits.total()} kills')
    encodings(commands, work, results, max(1, n//5), seed, all_stories[0].reference)
    rows = [r for r in results.rows if r['test']=='kill']
    results.verdict('kill', f"{hits.total()} kills ({', '.join(f'{v} {k}' for k,v in hits.items())}) in {len(rows)} trainings: "
                    f"{sum(r['outcome']=='bit-equal' for r in rows)} bit-equal, {sum(r['outcome']=='refused' for r in rows)} refused")

def encodings(commands, work, results, n, seed, autoencoder):
    "Kills of the command that fills a folder with latents: the next call finishes it, and it is as if there had been one."
    rng,whole,total = random.Random(seed),work/'whole',FORK.Value('i')
    encode = lambda out,**how: commands('vlatent_encode', work/'videos', '--autoencoder', autoencoder, '--out', out, '--shard_mb', .005, '--device', 'cpu', **how).wait()
    def count(number, path): total.value = number
    if (job := encode(whole, before=lambda: moments('files', work, count))).code: raise SystemExit(f'nothing encoded: {how(job)}')
    content = lambda out: {str(p.relative_to(out)): digest(p) for p in out.rglob('*') if p.is_file()}
    for case in range(n):
        out,when = work/f'encoded{case}',[]
        for _ in range(rng.choice([1, 2])):
            job = encode(out, before=dies('files', work, rng.randint(1, total.value)))
            when.append('hit' if job.code==-signal.SIGKILL else how(job)[:60])
        end = encode(out)
        apart = sorted(k for k in content(out).keys()|content(whole).keys() if content(out).get(k)!=content(whole).get(k)) if out.exists() else ['nothing there']
        wrong = [*([how(end)] if end.code else []), *(f'{k} differs' for k in apart if end.code==0)]
        results.add('encode', f'encoding {case}: {" → ".join(when)}', not wrong, '; '.join(wrong) or 'bit-equal')
        shutil.rmtree(out, ignore_errors=True)
    results.verdict('encode', counts([r for r in results.rows if r['test']=='encode' and r['ok']]))


# ---- checkpoints ---------------------------------------------------------------------------------------------------------

def pick(rng, folder, pattern='*'): return rng.choice(sorted(f for f in folder.glob(pattern) if f.is_file()))

def overwrite(path, change):
    data = bytearray(path.read_bytes())
    data = change(data) or data
    path.write_bytes(data)

def at_rest(rng, checkpoints):
    "A fault in checkpoints that lie on the disk (a list of folders, old to new); returns its name."
    last,other = checkpoints[-1],rng.choice(checkpoints[:-1])
    file,manifest = pick(rng, last, '[!m]*'),last/'manifest.json'
    def flip(d): d[rng.randrange(len(d))] ^= 1<<rng.randrange(8)
    def zero(d):
        at = rng.randrange(len(d))
        end = min(len(d), at+rng.randint(1, 512))
        d[at:end] = bytes(end-at) if any(d[at:end]) else b'\1'*(end-at)
    def text(value): return lambda: manifest.write_text(value if isinstance(value, str) else json.dumps(value))
    def swap():
        a,b = last/file.name,other/file.name
        x,y = a.read_bytes(),b.read_bytes()
        a.write_bytes(y)
        b.write_bytes(x)
    def hollow():
        shutil.rmtree(last)
        last.mkdir()
    def leftover():
        shutil.copytree(last, last.with_name(f'.{rng.randrange(99999)}.tmp.step_00000015'))
        pick(rng, last.with_name(next(p.name for p in last.parent.glob('.*.tmp.*')))).unlink()
    def stray(): (last.parent/rng.choice(['step_00000099', 'step_x', '.DS_Store', 'step_00000013.safetensors'])).write_text('stray')
    def copy(): shutil.copytree(last, last.with_name(f'{last.name} (copy)'))
    def both():
        overwrite(pick(rng, last, '*.safetensors'), flip)
        manifest.write_text('{}')
    def wrong(value): return lambda: (last/'state.json').write_text(value)
    kinds = {
        'truncated': lambda: overwrite(file, lambda d: d[:rng.randrange(len(d))]), 'bit flipped': lambda: overwrite(file, flip),
        'range zeroed': lambda: overwrite(file, zero), 'file deleted': file.unlink, 'file emptied': lambda: file.write_bytes(b''), 'file is a folder': lambda: (file.unlink(), file.mkdir()),
        'manifest deleted': manifest.unlink, 'manifest emptied': text(''), 'manifest is noise': lambda: manifest.write_bytes(rng.randbytes(200)),
        'manifest is {}': text({}), 'manifest is {}, and a bit flipped': both, 'manifest is a list': text([1, 2]), 'manifest is null': text(None), 'manifest is a number': text(1e400),
        'manifest of other types': text({file.name: rng.choice([None, 7, [], {}])}), 'manifest is deep': text('['*100_000), 'manifest names a NUL': text({'a\0b': 'x', 'state.json': 'y'}),
        'folder emptied': hollow, 'folder is a file': lambda: (shutil.rmtree(last), last.write_text('x')), 'leftover of a write': leftover, 'stray file': stray, 'copy beside it': copy,
        'files swapped': swap, 'state edited': wrong(rng.choice(['{"step": 9}', '[]', 'nan', '{"step": "x", "window": {}, "processes": 1, "patience": null}'])),
        'renamed': lambda: last.rename(last.with_name('step_00000021')), 'older renamed': lambda: other.rename(last.with_name('step_00000022')),
        'link': lambda: (shutil.move(last, last.parent.parent/'moved'), last.symlink_to(last.parent.parent/'moved')),
        'two damaged': lambda: (overwrite(file, flip), overwrite(pick(rng, checkpoints[-2]), flip)), 'all damaged': lambda: [overwrite(pick(rng, c), flip) for c in checkpoints]}
    if os.geteuid(): kinds['unreadable'] = lambda: file.chmod(0)
    kind = rng.choice(sorted(kinds))
    kinds[kind]()
    return kind

ERRORS = {'disk full': errno.ENOSPC, 'read-only': errno.EROFS, 'no permission': errno.EACCES, 'input/output error': errno.EIO, 'quota': errno.EDQUOT}

def raises(story, rng, share):
    "A fault of the file system at one moment of a run that goes on, and at all later ones: what Python does fails."
    name,k = rng.choice(sorted(ERRORS)),rng.randint(1, int(story.changes*share))
    def action(number, path):
        if number>=k and path!=os.devnull: raise OSError(ERRORS[name], os.strerror(ERRORS[name]), path)
    return f'{name} from change {k} on', lambda: moments('files', story.folder, action)

def too_large(rng, size):
    "No file may grow beyond some size: what native code writes fails too."
    def before():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return f'files end at {size} bytes', before

class SmallDisk:
    "A file system in memory, where this user may mount one."
    def __init__(self, where):
        self.where,self.there = where,False
        where.mkdir()

    def mount(self, *args): return not subprocess.run(['mount', *args, str(self.where)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode

    def __enter__(self):
        self.there = not os.geteuid() and self.mount('-t', 'tmpfs', '-o', 'size=64m', 'tmpfs')
        return self if self.there else None

    def __exit__(self, *exc):
        if self.there: subprocess.run(['umount', '-l', str(self.where)], check=False)

    def fill(self, free):
        "Leave so many bytes free."
        (self.where/'filler').write_bytes(b'')
        stat = os.statvfs(self.where)
        with open(self.where/'filler', 'wb') as f: f.write(bytes(max(0, stat.f_bavail*stat.f_frsize-free)))

    def empty(self): (self.where/'filler').unlink(missing_ok=True)

def checkpoints(commands, work, results, n, seed, only=None, **_):
    "n faults, each in a fresh copy of a run that was stopped half-way with three checkpoints."
    rng = random.Random(seed)
    videos = work/'videos'
    def write():
        from vlatent.data import write_shapes
        write_shapes(videos, 12, frames=16, size=16, seed=seed)
    Job(write).wait()
    settings = {'train.steps': 18, 'train.save_every': 3, 'train.log_every': 1, 'train.show_every': 9, 'train.keep': 3}
    make = lambda name,*args: Story(commands, work/name, *args).measure()
    ae = make('ae', 'tiny-ae', 'shapes:32', settings)
    bases = [ae, make('gan', 'tiny-ae-gan', 'shapes:32', settings), make('pvdm', 'tiny', videos, {**settings, 'cache.n': 16}, ae.reference)]
    for story in bases: # killed when it is about to log the step after its fourth checkpoint
        def action(number, path, story=story):
            if path and path.endswith('log.csv') and (story.folder/'base/checkpoints/step_00000012').exists(): os.kill(os.getpid(), signal.SIGKILL)
        job = story.start(story.folder/'base', before=lambda: moments('files', story.folder, action)).wait()
        story.kept = sorted((story.folder/'base/checkpoints').iterdir())
        if job.code!=-signal.SIGKILL or [c.name for c in story.kept]!=[f'step_{i:08d}' for i in (6, 9, 12)]: raise SystemExit(f'no run with three checkpoints: {how(job)}, {story.kept}')
        story.bytes = sum(f.stat().st_size for f in story.kept[-1].iterdir())

    def whole(story, run):
        "Steps of the checkpoints whose files are all as they were, whatever the folder is called now."
        found = {}
        for folder in [p for p in run.glob('checkpoints/[!.]*') if p.is_dir()]:
            there = {f.name: digest(f) for f in folder.iterdir() if f.is_file()}
            found |= {int(s.rpartition('_')[2]): folder.name for s,wanted in story.steps.items() if there==wanted}
        return found

    def begins(job):
        "The step from which a training goes on, by its bar."
        found = re.search(r'training:.*?(\d+)/(\d+)', job.said())
        return int(found[1]) if found else None

    with SmallDisk(work/'disk') as disk:
        if not disk: print('  no file system can be mounted here: faults of writing by Python and by a limit of file sizes only')
        for case in range(n) if only is None else [only]:
            rng = random.Random(f'{seed}/{case}')
            story,wrong = rng.choices(bases, [5, 1, 3])[0],[]
            run = story.folder/f'run{case}'
            if case%5<3: # at rest
                shutil.copytree(story.folder/'base', run)
                kind = at_rest(rng, sorted((run/'checkpoints').iterdir()))
                good = whole(story, run)
                job = story.resume(run, rng.choice([0, 0, 0, 2])).wait()
                step = begins(job)
                if job.code==0:
                    if step!=max(good, default=None) and not (step==9 and kind=='renamed'): wrong.append(f'went on from step {step}; whole are {sorted(good)}')
                    if kind not in ('renamed', 'older renamed', 'copy beside it', 'link', 'stray file'): wrong += differences(run, story.reference)
                    else: wrong += [d for d in differences(run, story.reference) if not d.startswith('checkpoints')]
                    if 18 not in whole(story, run): wrong.append('the last checkpoint is not there at the end')
                    outcome = 'newest whole taken, bit-equal'
                elif refused(job, 'vlatent_train'):
                    outcome = 'refused'
                    if whole(story, run)!=good: wrong.append('refused, but whole checkpoints are gone')
                else: wrong.append(how(job))
            else: # while writing
                kind = rng.choice(['raises', 'raises', 'too large', *(['full', 'full', 'turns read-only'] if disk else [])])
                on_disk = kind in ('full', 'turns read-only')
                if on_disk: run = disk.where/f'run{case}'
                shutil.copytree(story.folder/'base', run)
                before = until = None
                if kind=='raises': kind,before = raises(story, rng, .4)
                if kind=='too large': kind,before = too_large(rng, rng.choice([rng.randint(1, 4000), rng.randint(1, story.bytes)]))
                if kind=='full':
                    free = rng.randint(0, 2*story.bytes)
                    disk.fill(free)
                    kind = f'full, {free//1024} kB left'
                if kind=='turns read-only':
                    t = rng.uniform(.3, story.seconds*.5)
                    def until():
                        if job.seconds>t: disk.mount('-o', 'remount,ro')
                        return False
                job = story.resume(run, before=before)
                job.wait(until=until)
                if on_disk:
                    disk.mount('-o', 'remount,rw')
                    disk.empty()
                if job.code==0: outcome = 'no harm'
                elif refused(job, 'vlatent_train'): outcome = 'one line'
                else: wrong.append(how(job))
                if only is not None: print(job.said())
                good = whole(story, run)
                if not good: wrong.append('no whole checkpoint is left')
                if bad := story.half_written(run): wrong.append(f"half-written under its final name: {', '.join(bad)}")
                said = last(job.said())
                job = story.resume(run).wait()
                if job.code: wrong.append(f'cannot go on afterwards: {how(job)}')
                else: wrong += differences(run, story.reference)
                outcome = f'{outcome}, then bit-equal' if not wrong else ''
            results.add('checkpoints', f'{story.recipe}: {kind}', not wrong, '; '.join(wrong) or outcome, line=last(job.said()) if case%5<3 and job.code else said if case%5>=3 else '', case_seed=f'{seed}/{case}')
            shutil.rmtree(run, ignore_errors=True)
            every(25, case+1, 'faults')
    results.verdict('checkpoints', counts([r for r in results.rows if r['test']=='checkpoints' and r['ok']]))


# ---- videos --------------------------------------------------------------------------------------------------------------

FIELDS = { # numbers in the headers of mp4, mov and avi: where after the name, how many bytes, which byte order
    b'mvhd': [(12, 4, 'big'), (16, 4, 'big')], b'mdhd': [(12, 4, 'big'), (16, 4, 'big')], b'tkhd': [(20, 4, 'big'), (76, 4, 'big'), (80, 4, 'big')],
    b'stsz': [(4, 4, 'big'), (8, 4, 'big'), (12, 4, 'big')], b'stts': [(4, 4, 'big'), (8, 4, 'big'), (12, 4, 'big')], b'stsc': [(4, 4, 'big'), (12, 4, 'big')],
    b'stco': [(4, 4, 'big'), (8, 4, 'big')], b'stss': [(4, 4, 'big')], b'ctts': [(4, 4, 'big'), (8, 4, 'big')], b'elst': [(4, 4, 'big'), (8, 4, 'big')],
    b'avc1': [(24, 2, 'big'), (26, 2, 'big'), (-4, 4, 'big')], b'mp4v': [(24, 2, 'big'), (26, 2, 'big')], b'moov': [(-4, 4, 'big')], b'trak': [(-4, 4, 'big')], b'mdat': [(-4, 4, 'big')],
    b'RIFF': [(0, 4, 'little')], b'avih': [(4, 4, 'little'), (20, 4, 'little'), (32, 4, 'little'), (36, 4, 'little'), (40, 4, 'little')],
    b'strh': [(24, 4, 'little'), (28, 4, 'little'), (36, 4, 'little'), (40, 4, 'little')], b'strf': [(4, 4, 'little'), (8, 4, 'little'), (12, 4, 'little')], b'idx1': [(0, 4, 'little'), (16, 4, 'little')],
    b'\xb0\x82': [(0, 2, 'big')], b'\xba\x82': [(0, 2, 'big')], b'\x44\x89\x88': [(0, 8, 'big')], b'\x1f\x43\xb6\x75': [(0, 8, 'big')], b'\x23\xe3\x83\x84': [(0, 4, 'big')]} # mkv: width, height, duration, cluster, frame time

def headers(data, rng):
    "One to three numbers of the headers become huge."
    places = [(at+len(name)+offset, size, order) for name,fields in FIELDS.items() for at in [m.start() for m in re.finditer(re.escape(name), data)][:4]
              for offset,size,order in fields if 0<=at+len(name)+offset<=len(data)-size]
    for at,size,order in rng.sample(places, min(len(places), rng.randint(1, 3))):
        value = rng.choice([256**size-1, 256**size//2-1, 256**size//2, 256**size//16, 0, 65_535, 100_000_000])
        data[at:at+size] = (value % 256**size).to_bytes(size, order)
    return data

def picture(kind, rng):
    "Bytes of a GIF or a PNG."
    import io
    from PIL import Image
    frames,f = [Image.frombytes('RGB', (32, 32), rng.randbytes(3072)) for _ in range(rng.choice([1, 20]) if kind=='GIF' else 1)],io.BytesIO()
    frames[0].save(f, kind, **(dict(save_all=True, append_images=frames[1:]) if kind=='GIF' else {}))
    return f.getvalue()

NAMES = ['new\nline', 'tab\there', 'carriage\rreturn', 'comma,semi;colon', 'quote"\'', '-dash', '--out=x', '%s%d%n', ' space ', 'dots...', 'back\\slash', '$(touch x)', '`x`', '~', '#hash?', '*[ab]*',
         'ümläut', '视频', '🎬', '\u202ertl', 'e\u0301', 'NUL', 'nan', '007', '1e5', 'x'*240, '🎬'*60, os.fsdecode(b'\xff\xfe'), os.fsdecode(b'caf\xe9'), '\x7f\x01\x1b[31m']

def damage(clips, rng):
    "A damaged variant of a clip: its kind, its name and its bytes."
    source = rng.choice(clips)
    data,stem,suffix = bytearray(source.read_bytes()),source.stem,source.suffix
    kind = rng.choice(['truncated', 'truncated', 'flips', 'flips', 'flips', 'zeroed', 'zeroed', 'headers', 'headers', 'headers', 'headers', 'joined', 'suffix', 'empty', 'noise', 'text', 'GIF', 'PNG', 'name', 'cut out', 'as GIF'])
    if kind=='truncated': data = data[:rng.choice([rng.randrange(len(data)), rng.randrange(min(4096, len(data))), len(data)-rng.randint(1, 4096)])]
    if kind=='flips':
        n = rng.choice([1, 10, 1000])
        kind,where = f'{n} flips',rng.choice([len(data), min(len(data), 4096)]) # anywhere, or among the headers
        for _ in range(n): data[rng.randrange(where)] ^= 1<<rng.randrange(8)
    if kind=='zeroed':
        at = rng.randrange(len(data))
        end = min(len(data), at+rng.choice([16, 1000, 100_000]))
        data[at:end] = bytes(end-at)
    if kind=='cut out':
        at = rng.randrange(len(data))
        del data[at:at+rng.choice([1, 100, 10_000])]
    if kind=='headers': data = headers(data, rng)
    if kind=='joined': data = data+rng.choice(clips).read_bytes()
    if kind=='suffix': suffix = rng.choice(['.avi', '.mp4', '.mkv', '.webm', '.txt', '.MP4', '.jpg', '.ts', '.wmv', '.flv', ''])
    if kind=='as GIF': suffix = '.gif'
    if kind=='empty': data = b''
    if kind=='noise': data = rng.randbytes(rng.choice([1, 100, 100_000]))
    if kind=='text': data = b'<!DOCTYPE html><title>Sign in</title>\n'*rng.choice([1, 5000])
    if kind in ('GIF', 'PNG'): data,suffix = picture(kind, rng),rng.choice(['.mp4', '.gif', '.avi'])
    if kind=='name': stem = rng.choice(NAMES)
    return kind,stem+suffix,bytes(data)

def plain(why):
    "A verdict without what is particular to one file, to be counted."
    return re.sub(r'\d+', 'N', re.sub(r'\(.*', '', why)).strip()[:60] or 'ok'

def read_all(folder, memory, seed):
    "In a process of its own: read every good video of a folder twice, from random starts; prints how often another took a place."
    from vlatent.data import Batches, VideoData
    warnings.simplefilter('always')
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        ds = VideoData(folder, frames=16, size=32, memory=memory)
        for _,batch in Batches(ds, 1, seed, timeout=60).iterate(0, 2*len(ds)):
            assert batch['video'].shape==(1, 3, 16, 32, 32) and batch['video'].isfinite().all()
    print(json.dumps(dict(videos=len(ds), replaced=sum('takes its place' in str(w.message) for w in told))))

def videos(commands, work, results, n, seed, videos, **_):
    "n damaged variants: a verdict each, and what is found good can be read or is left out."
    from vlatent.reader import image_suffixes, scan, video_suffixes
    from vlatent.data import index_videos
    clips,rng = sorted(p for p in Path(videos).iterdir() if p.is_file()),random.Random(seed)
    if not clips: raise SystemExit(f'no clips in {videos}')
    folder,readers,read,memory,most = work/'damaged',['decord', 'av'] if has_decord() else ['av'],Counter(),[],0.
    for first in range(0, n, 100):
        reader,files = readers[first//100%len(readers)],{}
        for i in range(first, min(first+100, n)):
            kind,name,data = damage(clips, rng)
            path = folder/f'{i:05d}'/name
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            files[path] = kind
        begin = time.monotonic()
        found = {Path(r['path']): r for r in scan(files, 16, timeout=20, reader=reader).to_dict('records')}
        memory.append(resident())
        seconds = time.monotonic()-begin
        for path,kind in files.items():
            v = found.get(path)
            good = v is not None and bool(v['ok'])!=bool(v['why']) and 'crashed' not in v['why'] and 'hangs' not in v['why']
            results.add('videos', f'{path.relative_to(folder)!s} ({reader})', v is not None and bool(v['ok'])!=bool(v['why']), plain(v['why']) if v else 'no verdict', kind=kind, reader=reader,
                        why=v['why'] if v else '', remark='' if good else 'verdict by the parent: its child died or hung')
        # the same folder as people give it: an index, the verdicts kept, the good ones read
        try:
            index = index_videos(folder, 16, reader=reader, timeout=20)
            index.to_csv(work/'index.csv', index=False, errors='surrogateescape')
            again = index_videos(folder, 16, reader=reader, timeout=20)
            named = {p if p.suffix.lower() in video_suffixes else p.parent for p in files if p.suffix.lower() in video_suffixes|image_suffixes} # a folder with a picture is a video
            apart = {str(p.relative_to(folder)) for p in named} ^ set(index.path)
            wrong = [*(['another index the second time'] if not index.equals(again) else []), *(f'{p!r} in one only' for p in sorted(apart))]
            results.add('index', f'{first} to {i}', not wrong, '; '.join(wrong) or 'as before, all names')
        except Exception as e: results.add('index', f'{first} to {i}', False, f'{type(e).__name__}: {str(e)[:200]}')
        job = Job(lambda: read_all(folder, first//100//2%2, seed)).wait(limit=900)
        if job.code==0: read.update(json.loads(last(job.said(1))))
        results.add('reading', f'{first} to {i}', job.code==0, how(job) if job.code else 'all read')
        shutil.rmtree(folder)
        most = max(most, seconds)
        every(100, i+1, f'files, {seconds:.0f} s for the last 100, {memory[-1]/2**20:.0f} MB resident')
    rows = [r for r in results.rows if r['test']=='videos']
    grown = memory[-1]-memory[len(memory)//3] if len(memory)>2 else 0
    results.add('videos', 'resident memory of the parent', grown<8*2**20, f'{grown/2**20:+.1f} MB from a third on')
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/2**20
    print('  by kind (good/all):', ', '.join(f"{k} {sum(r['outcome']=='ok' for r in rows if r['kind']==k)}/{m}" for k,m in sorted(Counter(r['kind'] for r in rows).items())))
    for why,m in Counter(r['outcome'] for r in rows).most_common(): print(f'  {m:5d} {why}')
    results.verdict('videos', f"{sum(r['outcome']=='ok' for r in rows)} of {len(rows)} can be used, {sum('hangs' in r['why'] for r in rows)} hang and {sum('crashed' in r['why'] for r in rows)} crash their checker; "
                    f"largest child {children:.1f} GB, 100 files in {most:.0f} s at most, parent {grown/2**20:+.1f} MB")
    results.verdict('index', 'odd names kept and found again')
    results.verdict('reading', f"{read['videos']} good files read twice, {read['replaced']} times another took a place")

def has_decord():
    from vlatent.reader import decord
    return bool(decord)


# ---- memory --------------------------------------------------------------------------------------------------------------

def slope(values):
    "Of a straight line through the values, per step."
    n,mean = len(values),sum(values)/len(values)
    return sum((i-(n-1)/2)*(v-mean) for i,v in enumerate(values))/max(1e-9, sum((i-(n-1)/2)**2 for i in range(n)))

def open_many(files, good, reader, n, seed):
    "In a process of its own: open and read n times; prints its memory after each, and twenty times that without what the allocator holds back."
    import ctypes, gc, torch
    from vlatent.core import InputError
    from vlatent.data import VideoData, index_videos
    from vlatent.video import open_video
    rng,used,live,failed = random.Random(seed),[],[],0
    ds = VideoData(good, frames=16, size=32, memory=0, reader=reader)
    for i in range(n):
        try:
            if i%3==2: ds.get(rng.randrange(len(ds)), torch.Generator().manual_seed(i))
            else:
                v = open_video(files[i%len(files)], reader)
                at = rng.randrange(max(1, v.frames-16))
                v.read(range(at, min(at+16, v.frames)))
        except (InputError, OSError, MemoryError): failed += 1
        used.append(resident())
        if (i+1)%max(1, n//20)==0:
            v = None # an open file has buffers of its own
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            live.append(resident())
    print(json.dumps(dict(used=used, live=live, failed=failed)))

def memory(commands, work, results, n, seed, videos, **_):
    "n openings of good and damaged files in one process, by each reader."
    from vlatent.reader import scan
    clips,rng,figures = sorted(p for p in Path(videos).iterdir() if p.is_file()),random.Random(seed),[]
    for reader in ['decord', 'av'] if has_decord() else ['av']:
        folder,good = work/f'damaged-{reader}',work/f'good-{reader}'
        folder.mkdir()
        good.mkdir()
        for p in clips: shutil.copy(p, good)
        for i in range(60):
            kind,name,data = damage(clips, rng)
            (folder/f'{i}{Path(name).suffix}').write_bytes(data)
        found = scan([*folder.iterdir(), *good.iterdir()], 1, reader=reader)
        files = [p for p,why in zip(found.path, found.why) if not re.search('crash|hang|too large', why)] # those that end processes are for `videos`
        random.Random(seed).shuffle(files)
        job = Job(lambda: open_many(files, good, reader, n, seed)).wait(limit=3600)
        if job.code: results.add('memory', reader, False, how(job))
        else:
            out = json.loads(last(job.said(1)))
            used,live = out['used'],out['live']
            rise,grown = slope(live[len(live)//2:])/max(1, n//20),max(used[n//2:])/max(used[:n//2])
            figures.append(f'{reader} {rise:+.0f} bytes an opening in the second half, at most {max(used)/2**20:.0f} MB, {grown:.2f} times what the first half took')
            results.add('memory', reader, rise<1024 and grown<1.1, figures[-1], files=len(files), failed=out['failed'], live=' '.join(f'{x/2**20:.1f}' for x in live))
    results.verdict('memory', f'{n} openings each: '+'; '.join(figures))


# ---- half ----------------------------------------------------------------------------------------------------------------

def half_damaged(folder, clips, seed):
    "A folder of which half cannot be read; some of that half passes the check, and fails in training only."
    import numpy as np
    from PIL import Image
    from vlatent.data import write_shapes
    rng = random.Random(seed)
    write_shapes(folder/'made', 12, frames=40, size=16, seed=seed)
    good = sorted((folder/'made').rglob('*.mp4'))
    for p in clips: shutil.copy(p, folder)
    for i in range(12 + len(clips)):
        kind,name,data = damage(clips, rng)
        (folder/f'd{i:03d}{Path(name).suffix}').write_bytes(data)
    for i in range(14): # folders of pictures that the check's three looks miss: all in a row, more than are tried for one place
        sick = folder/f'pictures/{i:03d}'
        sick.mkdir(parents=True)
        for j in range(120): Image.fromarray(np.full((16, 16, 3), 2*j, 'u1')).save(sick/f'{j:04d}.png')
        for j in range(20, 50): (sick/f'{j:04d}.png').write_bytes(b'no picture')
    for i in range(14):
        sound = folder/f'sound/{i:03d}'
        sound.mkdir(parents=True)
        for j in range(20): Image.fromarray(np.full((16, 16, 3), 3*i+2*j, 'u1')).save(sound/f'{j:04d}.png')

def half(commands, work, results, seed, videos, **_):
    "Training over a folder that is half damaged, the verdicts known and unknown."
    clips = sorted(p for p in Path(videos).iterdir() if p.is_file())
    Job(lambda: half_damaged(work/'half', clips, seed)).wait()
    kept = os.environ['VLATENT_CACHE']
    for workers,pairs,memory in itertools.product((0, 2), (False,), (1, 0)):
        os.environ['VLATENT_CACHE'] = str(work/f'cache-{workers}-{memory}') # nothing is known of the folder
        story = Story(commands, work/f'half-{workers}-{memory}', 'tiny-ae', work/'half', {'train.steps': 40, 'train.save_every': 10, 'data.memory': memory})
        out = story.folder/'run'
        job = story.start(out, workers).wait()
        results.add('half', f'{workers} workers, memory={memory}', job.code==0 and 'Traceback' not in job.said(), how(job) if job.code else 'done', seconds=round(job.seconds, 1),
                    placed=job.said().count('takes its place'), used=first_match(r'(\d+ of \d+) videos', job.said()))
        if job.code: continue
        # killed half-way, it must go on to the same end, whatever has been found out about files meanwhile
        os.environ['VLATENT_CACHE'] = str(work/f'cache-{workers}-{memory}-killed')
        other = story.folder/'killed'
        def action(number, path, other=other):
            if (other/'checkpoints/step_00000020').exists(): os.kill(os.getpid(), signal.SIGKILL)
        story.start(other, workers, before=lambda: moments('backward', story.folder, action)).wait()
        job = story.resume(other, workers).wait()
        wrong = differences(other, out) if job.code==0 else [how(job)]
        wrong = [w for w in wrong if not w.startswith('data.csv')]
        results.add('half', f'{workers} workers, memory={memory}, killed and resumed', not wrong, '; '.join(wrong) or 'bit-equal')
    os.environ['VLATENT_CACHE'] = kept
    results.verdict('half', '; '.join(f"{r['case']}: {r['outcome']}" for r in results.rows if r['test']=='half'))

def first_match(pattern, text): return (m := re.search(pattern, text)) and m[1] or ''


# ---- files ---------------------------------------------------------------------------------------------------------------

PAGE = b'<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body><p>Sorry, you can\'t view or download this file at this time.</p></body></html>'

class Runs:
    "Pickled, it is code that leaves a file behind."
    def __init__(self, canary): self.canary = str(canary)
    def __reduce__(self): return os.system, (f'touch {self.canary}',)

def safetensors(header, data=b'', size=None):
    "A file in the format of safetensors, with any header and any claim of how long that is."
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(header) if size is None else size)+header+data

def weights(folder, official, canary, rng):
    "Files that are no weights of what they are given for: name → what to expect of it is always the same, a refusal."
    import torch
    one = lambda *shape: torch.zeros(shape)
    entry = lambda **k: {'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8], **k}}
    put = lambda name,data: (folder/name).write_bytes(data)
    save = lambda name,value,**k: torch.save(value, folder/name, **k)
    folder.mkdir()
    evil = Runs(canary)
    save('code.pth', {'weight': evil})
    save('code_legacy.pth', {'weight': evil}, _use_new_zipfile_serialization=False)
    save('code_beside_weights.pth', {'state_dict': official['autoencoder'], 'callbacks': evil})
    put('code_plain.pth', pickle.dumps(evil))
    put('code_plain.safetensors', pickle.dumps({'weight': evil}))
    put('code_eval.pth', b"cbuiltins\neval\n(V__import__('os').system('touch %s')\ntR." % os.fsencode(canary))
    put('page.pth', PAGE)
    put('page.safetensors', PAGE)
    put('empty.pth', b'')
    put('empty.safetensors', b'')
    put('noise.pth', rng.randbytes(5000))
    put('noise.safetensors', rng.randbytes(5000))
    (folder/'folder.pth').mkdir()
    whole = Path(official['file']).read_bytes()
    put('cut.safetensors', whole[:len(whole)//2])
    put('cut_header.safetensors', whole[:100])
    put('huge_header.safetensors', safetensors(b'{}', size=2**63-1))
    put('large_header.safetensors', safetensors(b'{}', size=10**9))
    put('no_json.safetensors', safetensors(b'{"a": '))
    put('deep.safetensors', safetensors(b'['*100_000))
    put('list.safetensors', safetensors([1]))
    put('overlap.safetensors', safetensors({'a': entry()['a'], 'b': entry()['a']}, bytes(8)))
    put('outside.safetensors', safetensors(entry(data_offsets=[0, 80]), bytes(8)))
    put('negative.safetensors', safetensors(entry(shape=[-2]), bytes(8)))
    put('huge_shape.safetensors', safetensors(entry(shape=[2**40, 2**40]), bytes(8)))
    put('type.safetensors', safetensors(entry(dtype='X9'), bytes(8)))
    with zipfile.ZipFile(folder/'zip.pth', 'w') as z: z.writestr('readme.txt', 'no weights')
    save('cut.pth', official['autoencoder'])
    put('cut.pth', (folder/'cut.pth').read_bytes()[:20_000])
    save('tensor.pth', one(3))
    save('list.pth', [one(3)])
    save('none.pth', None)
    save('numbers.pth', {1: one(3), (2, 3): one(3)})
    save('text.pth', {'a': 'b', 'c': ['d']})
    save('wrapped.pth', {'state_dict': 5})
    tats = {'encoder.conv_first.conv.weight': one(32, 3, 3, 3, 3), 'encoder.conv_first.conv.bias': one(32), 'codebook.embeddings': one(64, 8), 'codebook.N': one(64),
            'pre_vq_conv.conv.weight': one(8, 64, 1, 1, 1), 'post_vq_conv.conv.weight': one(64, 8, 1, 1, 1), 'decoder.final_block.0.weight': one(64), 'decoder.conv_last.conv.weight': one(3, 32, 3, 3, 3)}
    save('tats.pth', {'state_dict': tats, 'epoch': 3, 'global_step': 9, 'pytorch-lightning_version': '1.4.9'})
    save('tats.ckpt', {'state_dict': tats, 'hyper_parameters': argparse.Namespace(embedding_dim=8, n_codes=64)})
    judge = {f'discriminator_2d.model{i}.0.weight': one(8, 3, 4, 4) for i in range(5)}
    save('loss_last.pth', {'perceptual_loss.net.slice1.0.weight': one(64, 3, 3, 3), 'perceptual_loss.lin0.model.1.weight': one(1, 64, 1, 1), **judge})
    p = torch.nn.Parameter(one(3))
    opt = torch.optim.AdamW([p])
    p.grad = one(3)
    opt.step()
    save('opt.pth', opt.state_dict())
    save('scaler.pth', {'scale': 65536., 'growth_factor': 2., '_growth_tracker': 3})
    for i,k in enumerate(rng.sample(sorted(official['autoencoder']), 24)): # right but for one entry
        state = dict(official['autoencoder'])
        if i%3==0: del state[k]
        if i%3==1: state[k] = one(1, 2, 3)
        if i%3==2: state[k] = rng.choice(['text', None, 3., [1]])
        save(f'entry{i}.pth', state)
    save('extra.pth', {**official['autoencoder'], 'encoder.layers.99.0.fn.to_qkv.weight': one(3)})
    save('odd_layer.pth', {**official['autoencoder'], 'encoder.layers.x.weight': one(3)})
    save('pruned_unet.pth', {k: v for k,v in official['denoiser'].items() if 'output_blocks' not in k})
    return sorted(f.name for f in folder.iterdir())

def configs():
    "Texts that stand in place of a part's configuration."
    part = lambda **k: json.dumps({'class': 'TriplaneAutoencoder', 'version': '0', 'args': {}, **k})
    return {'empty': '', 'page': PAGE.decode(), 'nan': 'NaN', 'list': '[]', 'number': '5', 'null': 'null', 'object': '{}', 'deep': '['*100_000, 'long number': '{"class": '+'9'*5000+'}', 'not text': b'\xff\xfe\x00{',
            'class __import__': part(**{'class': '__import__'}), 'class os.system': part(**{'class': 'os.system'}), 'class Part': part(**{'class': 'Part'}), 'class null': part(**{'class': None}),
            'class list': part(**{'class': ['TriplaneAutoencoder']}), 'class object': part(**{'class': {}}), 'args list': part(args=[]), 'args text': part(args='x'), 'args null': part(args=None),
            'args dunder': part(args={'__class__': 1}), 'args self': part(args={'self': 1}), 'size text': part(args={'size': 'x'}), 'size negative': part(args={'size': -16}), 'size huge': part(args={'size': 10**30}),
            'patch 0': part(args={'patch': 0}), 'width huge': part(args={'width': 10**9}), 'frames inf': part(args={'frames': 1e999}), 'depth text': part(args={'depth': 'ab'}), 'frames object': part(args={'frames': {}})}

def tree(folder):
    "What lies below a folder: to see that nothing was written."
    return {str(p.relative_to(folder)): (p.lstat().st_mtime_ns, digest(p) if p.is_file() else '') for p in sorted(folder.rglob('*'))}

def files(commands, work, results, seed, **_):
    "Wrong and hostile files for each command: one line, code 2, nothing run, nothing written."
    import torch
    from safetensors.torch import load_file, save_file
    rng,canary,refusals = random.Random(seed),work/'canary',[]

    def prepare():
        official = {}
        for what,name in (('autoencoder', 'ae_encode_decode'), ('denoiser', 'unet_cond')):
            state = load_file(ROOT/f'nbs/_fixtures/pvdm/{name}.safetensors')
            official[what] = {k[6:]: v for k,v in state.items() if k.startswith('state.')}
            torch.save(official[what], work/f'{what}.pth')
        official['file'] = work/'whole.safetensors'
        save_file(official['autoencoder'], official['file'])
        print(json.dumps(weights(work/'weights', official, canary, rng)))
    job = Job(prepare).wait()
    if job.code: raise SystemExit(job.said())
    bad = json.loads(last(job.said(1)))

    def runs(name, recipe, seed, *more):
        out = work/name
        job = commands('vlatent_train', recipe, '--data', 'shapes:8', '--out', out, '--device', 'cpu', '--seed', seed, '--set', 'train.steps=4', '--set', 'train.save_every=2', *more).wait()
        if job.code: raise SystemExit(f'{recipe} does not train: {how(job)}')
        return out
    first,other = runs('first', 'tiny-ae', 0),runs('other', 'tiny-ae', 1)
    second = runs('second', 'tiny', 0, '--autoencoder', first, '--set', 'cache.n=8')
    strange = runs('strange', 'tiny', 0, '--autoencoder', other, '--set', 'cache.n=8')

    def case(name, command, *args, says='', may=False):
        "Run a command that must refuse, or `may` do what it can; `says` must be in its line."
        before = tree(work)
        job = commands(command, *args, before=lambda: os.chdir(work)).wait(limit=120)
        after,wrong = tree(work),[]
        if canary.exists():
            wrong.append('THE CODE IN THE FILE HAS RUN')
            canary.unlink()
        done = may and job.code==0 and 'Traceback' not in job.said()
        if not done and not refused(job, command): wrong.append(how(job))
        elif not re.search(says, last(job.said()), re.I): wrong.append(f'its line does not say {says!r}: {last(job.said())[:300]}')
        if not done and (changed := sorted(p for p in before.keys()|after.keys() if before.get(p)!=after.get(p))): wrong.append(f"written: {', '.join(changed[:5])}")
        results.add('files', f'{command} {name}', not wrong, '; '.join(wrong) or ('done' if done else 'refused'), line=last(job.said()), seconds=round(job.seconds, 1))
        for p in set(after)-set(before): # the next case starts as this one did
            shutil.rmtree(work/p, ignore_errors=True) if (work/p).is_dir() else (work/p).unlink(missing_ok=True)
        every(50, sum(r['test']=='files' for r in results.rows), 'files')

    def changed(run, changes, what, command, *args, **expected):
        "The same with a copy of a run in which some files are others: path → bytes, text, a path to copy, or None to delete."
        copy = work/'copy'
        shutil.copytree(run, copy)
        for path,value in changes.items():
            target = copy/path
            if target.is_dir(): shutil.rmtree(target)
            else: target.unlink(missing_ok=True)
            if isinstance(value, Path): shutil.copytree(value, target) if value.is_dir() else shutil.copy(value, target)
            elif value is not None:
                target.parent.mkdir(exist_ok=True, parents=True)
                target.write_bytes(value if isinstance(value, bytes) else value.encode())
        case(what, command, *args, **expected)
        shutil.rmtree(copy, ignore_errors=True)

    train = ('vlatent_train', 'tiny', '--data', 'shapes:8', '--out', 'new', '--device', 'cpu')
    sample = ('vlatent_sample', 'copy', '--n', 1, '--out', 'new', '--device', 'cpu')
    resume = ('vlatent_train', '--resume', '--out', 'copy', '--device', 'cpu')
    tells = {'page': 'html|web page', 'code': 'code|run|global|import', 'tats': 'tats|vqgan', 'loss_last': 'loss|discriminator|lpips', 'opt': 'optimi', 'scaler': 'scaler', 'empty': 'empty', 'cut': 'cut|whole|incomplete|damaged'}
    for name in [*bad, 'missing.pth', 'missing.safetensors']: # authors' files
        stem = re.match('[a-z]+(_last)?', name)[0]
        says = f"(?=.*{re.escape(name)})(?=.*({tells.get(stem, '')}))" if not stem.startswith('entry') else ''
        case(f'autoencoder {name}', 'vlatent_convert', 'pvdm', '--autoencoder', f'weights/{name}', '--denoiser', 'denoiser.pth', '--out', 'new', says=says)
        if not stem in ('entry', 'extra', 'odd_layer', 'odd'): case(f'denoiser {name}', 'vlatent_convert', 'pvdm', '--autoencoder', 'autoencoder.pth', '--denoiser', f'weights/{name}', '--out', 'new', says=says)
    case('halves exchanged', 'vlatent_convert', 'pvdm', '--autoencoder', 'denoiser.pth', '--denoiser', 'autoencoder.pth', '--out', 'new', says='u-net|denoiser')
    case('no such system', 'vlatent_convert', '__import__', '--autoencoder', 'autoencoder.pth', '--denoiser', 'denoiser.pth', '--out', 'new')
    case('out in use', 'vlatent_convert', 'pvdm', '--autoencoder', 'autoencoder.pth', '--denoiser', 'denoiser.pth', '--out', 'first')
    for name in ['page.pth', 'code.pth', 'folder.pth', 'missing.pth', 'tats.ckpt']: case(f'autoencoder {name}', *train, '--autoencoder', f'weights/{name}')
    for what,path in (('second stage without an autoencoder', 'second/denoiser'), ('checkpoint', 'first/checkpoints/step_00000004'), ('empty name', ' '), ('name that climbs', '../../etc')): case(what, *train, '--autoencoder', path)
    for name in [b for b in bad if b.endswith('.safetensors')]: # weights of our own runs
        for run,part,line in ((first, 'autoencoder', (*train, '--autoencoder', 'copy')), (second, 'autoencoder', sample), (second, 'denoiser', sample)):
            changed(run, {f'{part}/model.safetensors': work/'weights'/name}, f'{part} of a run: {name}', *line)
    changed(second, {'denoiser/model.safetensors': first/'autoencoder/model.safetensors'}, 'another part\'s weights', *sample)
    changed(second, {'denoiser/model.safetensors': None}, 'weights missing', *sample)
    changed(second, {'denoiser': None}, 'part missing', *sample)
    changed(second, {'denoiser': first/'autoencoder'}, 'part of another kind', *sample)
    changed(second, {'autoencoder': second/'denoiser'}, 'denoiser in place of the autoencoder', *sample)
    for name,text in configs().items():
        changed(first, {'autoencoder/config.json': text}, f'autoencoder/config.json: {name}', *train, '--autoencoder', 'copy')
        changed(second, {'denoiser/config.json': text}, f'denoiser/config.json: {name}', *sample)
        changed(second, {'diffusion/config.json': text}, f'diffusion/config.json: {name}', *sample)
        changed(second, {'config.json': text}, f'config.json: {name}', *sample)
        changed(second, {'config.json': text}, f'resume, config.json: {name}', *resume)
    own = json.loads((second/'config.json').read_text())
    values = {'null': None, 'number': 7, 'text': 'x', 'list': [1, [2]], 'object': {'a': 1}, 'code': '__import__("os")', 'path': '../../etc'}
    for key in ('class', 'args', 'parts'):
        for name,value in values.items(): changed(second, {'config.json': json.dumps({**own, key: value})}, f'config.json with {key}: {name}', *sample)
    for key in ('recipe', 'seed', 'data', 'name', 'precision', 'hashes', 'by_class', 'classes'):
        for name,value in values.items():
            if value is None and key in ('precision', 'by_class', 'hashes') or (key, name)==('hashes', 'object') or key=='seed' and value==7 or key in ('by_class', 'classes', 'name'): continue # these are harmless
            changed(second, {'config.json': json.dumps({**own, key: value})}, f'resume, config.json with {key}: {name}', *resume)
    for part in own['recipe']:
        if part in ('source', 'task'): continue
        for name,value in values.items():
            if value is not None: changed(second, {'config.json': json.dumps({**own, 'recipe': {**own['recipe'], part: value}})}, f'resume, recipe with {part}: {name}', *resume)
    # a run that goes on: its cache of latents, its index, its log, its checkpoints
    changed(second, {'latents.safetensors': strange/'latents.safetensors'}, 'resume, latents of another autoencoder', *resume, says='autoencoder')
    changed(second, {'latents.safetensors': strange/'latents.safetensors', 'checkpoints': None, 'log.csv': None}, 'resume from the start, latents of another autoencoder', *resume, says='autoencoder')
    changed(second, {'autoencoder': other/'autoencoder'}, 'resume, another autoencoder', *resume, says='autoencoder')
    for name in [b for b in bad if b.endswith('.safetensors')]+['tensor.pth']: changed(second, {'latents.safetensors': work/'weights'/name}, f'resume, latents {name}', *resume)
    changed(second, {'latents.safetensors': None}, 'resume, no latents', *resume)
    z = load_file(second/'latents.safetensors')
    for name,meta in (('no metadata', None), ('about is no JSON', dict(about='{', classes='[]')), ('about is a list', dict(about='[]', classes='[]')), ('classes are a number', dict(about='{}', classes='5'))):
        save_file(z, work/'odd.safetensors', meta)
        changed(second, {'latents.safetensors': work/'odd.safetensors'}, f'resume, latents, {name}', *resume)
    save_file({k: v[:, :, :1].contiguous() if v.ndim==3 else v for k,v in z.items()}, work/'odd.safetensors', {'about': '{}', 'classes': '[]'})
    changed(second, {'latents.safetensors': work/'odd.safetensors'}, 'resume, latents of another shape', *resume)
    step,names = second/'checkpoints/step_00000004',lambda r: sorted(p.name for p in (r/'checkpoints/step_00000004').iterdir())
    def trusted(name, data):
        "A checkpoint in which one file is another, and the manifest knows it."
        from hashlib import blake2b
        manifest = json.loads((step/'manifest.json').read_text())
        return {f'checkpoints/step_00000004/{name}': data, 'checkpoints/step_00000002': None, 'config.json': json.dumps({**own, 'recipe': {**own['recipe'], 'train': {**own['recipe']['train'], 'steps': 8}}}),
                'checkpoints/step_00000004/manifest.json': json.dumps({**manifest, name: blake2b(data, digest_size=8).hexdigest()})}
    optimiser = next(n for n in names(second) if n.endswith('.pt'))
    for name in ('code.pth', 'code_legacy.pth', 'code_plain.pth', 'code_eval.pth', 'tensor.pth', 'numbers.pth', 'opt.pth', 'page.pth'):
        changed(second, trusted(optimiser, (work/'weights'/name).read_bytes()), f'resume, a trusted checkpoint with {name} as optimiser', *resume)
    for name in ('code_plain.safetensors', 'cut.safetensors', 'huge_shape.safetensors'):
        changed(second, trusted('denoiser.safetensors', (work/'weights'/name).read_bytes()), f'resume, a trusted checkpoint with {name} as weights', *resume)
    for text in ('[]', '{}', '{"step": "x", "window": {}}', '{"step": -3, "window": {}, "processes": 1, "patience": null}', '{"step": 4, "window": [], "processes": 1, "patience": [1]}', '{"step": 1e300, "window": {}, "processes": 1, "patience": null}'):
        changed(second, trusted('state.json', text.encode()), f'resume, a trusted checkpoint with the state {text}', *resume)
    changed(second, {'checkpoints': first/'checkpoints'}, 'resume, checkpoints of another recipe', *resume)
    for name,data in (('noise', rng.randbytes(3000)), ('a page', PAGE), ('no step', b'a,b\n1,2\n'), ('ragged', b'step,loss\n1,2,3,4\n5\n'), ('step is text', b'step,loss\nx,1\n'), ('not text', b'step,loss\n1,\xff\xfe\n')):
        changed(second, {'log.csv': data}, f'resume, log.csv: {name}', *resume, may=True)
    for what,path in (('a saved part', 'first/autoencoder'), ('a file', 'first/log.csv'), ('nothing', 'nowhere'), ('an empty folder', 'weights/folder.pth')): case(f'resume {what}', 'vlatent_train', '--resume', '--out', path, '--device', 'cpu')
    # folders of latents
    def write():
        from vlatent.data import write_shapes
        write_shapes(work/'clips', 4, frames=12, size=16)
    Job(write).wait()
    for ae,name in ((first, 'latents'), (other, 'strange_latents')):
        job = commands('vlatent_encode', work/'clips', '--autoencoder', ae, '--out', work/name, '--device', 'cpu').wait()
        if job.code: raise SystemExit(f'nothing encoded: {how(job)}')
    latents,shards = work/'latents',sorted(p.relative_to(work/'latents').as_posix() for p in (work/'latents').rglob('*.safetensors'))
    case('latents of another autoencoder', 'vlatent_train', 'tiny', '--data', 'strange_latents', '--autoencoder', 'first', '--out', 'new', '--device', 'cpu', says='another autoencoder')
    case('encode into the latents of another autoencoder', 'vlatent_encode', 'clips', '--autoencoder', 'first', '--out', 'strange_latents', '--device', 'cpu', says='autoencoder|weights')
    case('encode other videos into it', 'vlatent_encode', 'half', '--autoencoder', 'first', '--out', 'latents', '--device', 'cpu')
    case('encode into a run', 'vlatent_encode', 'clips', '--autoencoder', 'first', '--out', 'second', '--device', 'cpu')
    for name in ('page.pth', 'code.pth', 'folder.pth', 'missing.pth'): case(f'encode with {name}', 'vlatent_encode', 'clips', '--autoencoder', f'weights/{name}', '--out', 'new', '--device', 'cpu')
    use = ('vlatent_train', 'tiny', '--data', 'copy', '--autoencoder', 'first', '--out', 'new', '--device', 'cpu')
    for name in [b for b in bad if b.endswith('.safetensors')]: changed(latents, {shards[0]: work/'weights'/name}, f'a shard is {name}', *use)
    changed(latents, {shards[0]: None}, 'a shard is missing', *use)
    changed(latents, {shards[0]: work/'strange_latents'/shards[0]}, 'a shard of another autoencoder', *use)
    for name,text in configs().items(): changed(latents, {'config.json': text}, f'latents, config.json: {name}', *use)
    about = json.loads((latents/'config.json').read_text())
    for key in about:
        for name,value in values.items():
            if key not in ('version', 'sheet') and not (key=='finished' and value) and not (key=='root' and isinstance(value, str)): changed(latents, {'config.json': json.dumps({**about, key: value})}, f'latents, config.json with {key}: {name}', *use)
    for table in sorted(p.name for p in latents.glob('*.csv')):
        for name,data in (('noise', rng.randbytes(500)), ('empty', b''), ('a page', PAGE), ('other columns', b'a,b\n1,2\n')): changed(latents, {table: data}, f'latents, {table}: {name}', *use)
    # data, and a start
    (work/'text').mkdir()
    (work/'text/readme.txt').write_text('no video')
    (work/'text.mp4').write_text('no video')
    (work/'pictures').mkdir()
    (work/'pictures/0.png').write_bytes(picture('PNG', rng))
    for name,data in (('list.csv', rng.randbytes(500)), ('list.jsonl', b'{"path": \n'), ('list.json', b'[1, 2]'), ('nothing.csv', b''), ('columns.csv', b'a,b\n1,2\n'), ('nowhere.csv', b'path,label\nnowhere.mp4,0\n'), ('climbs.jsonl', b'{"path": "../../../etc/passwd", "label": 0}\n')):
        (work/name).write_bytes(data)
        case(f'data {name}', 'vlatent_train', 'tiny-ae', '--data', name, '--out', 'new', '--device', 'cpu')
    for name in ('text', 'text.mp4', 'weights/folder.pth', 'nowhere', 'shapes:x', 'shapes:0', 'shapes:-1', ' '): case(f'data {name!r}', 'vlatent_train', 'tiny-ae', '--data', name, '--out', 'new', '--device', 'cpu')
    for name in ('text.mp4', 'text', 'pictures', 'pictures/0.png', 'nowhere.mp4', 'weights/code.pth'): case(f'start {name}', 'vlatent_sample', 'second', '--n', 1, '--start', name, '--out', 'new', '--device', 'cpu')
    rows = [r for r in results.rows if r['test']=='files']
    results.verdict('files', f"{sum(r['outcome']=='refused' for r in rows)} refused with one line, {sum(r['outcome']=='done' for r in rows)} put right, code of a file run: {sum('HAS RUN' in r['outcome'] for r in rows)}, something written: {sum('written:' in r['outcome'] for r in rows)}")


# ---- processes -----------------------------------------------------------------------------------------------------------

def processes(commands, work, results, **_):
    "The same recipe with one process and with two, at equal global batch: the losses of each logged step."
    os.environ['ACCELERATE_USE_CPU'] = 'true'
    rows,figures = {},[]
    for recipe in ('tiny-ae', 'tiny-ae-gan', 'tiny'):
        first = ['--autoencoder', work/'tiny-ae-1'] if recipe=='tiny' else []
        # at the recipe's own rate of 4e-3 two players amplify rounding: one process, its l1 weight changed by 1e-7, is as far from itself after 22 steps; 1e-4 is the published rate
        rate = ['train.lr=1e-4'] if recipe=='tiny-ae-gan' else []
        sets = [x for s in ['train.log_every=1', 'train.batch_size=4', 'train.steps=20', *rate] for x in ('--set', s)]
        for n in (1, 2):
            out = work/f'{recipe}-{n}'
            line = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', n] if n>1 else []
            job = Job([sys.executable, *map(str, [*line, '-m', 'vlatent.train', recipe, '--data', 'shapes:32', '--out', out, '--device', 'cpu', *first, *sets])]).wait()
            if job.code: results.add('processes', f'{recipe}, {n} processes', False, how(job))
            rows[n] = log_rows(out)
        if len(rows[1])!=20 or len(rows[2])!=20:
            results.add('processes', recipe, False, f'{len(rows[1])} and {len(rows[2])} rows in the log')
            continue
        apart = {k: max(abs(float(a[k])-float(b.get(k, 'nan')))/max(1, abs(float(a[k]))) for a,b in zip(rows[1], rows[2]) if k in a) for k in set().union(*rows[1])-{'step', 'lr'}}
        losses = {k: v for k,v in apart.items() if k.startswith('loss')}
        worst = max(apart, key=apart.get)
        figures.append(f"{recipe} {max(losses.values()):.1e}")
        results.add('processes', recipe, all(v<=1e-5 for v in losses.values()), ', '.join(f'{k} {v:.1e}' for k,v in losses.items()), worst=f'{worst} {apart[worst]:.1e}')
    results.verdict('processes', f"largest difference of a loss: {', '.join(figures)}")


# ---- The command ---------------------------------------------------------------------------------------------------------

TESTS = dict(videos=1000, memory=2000, half=None, files=None, checkpoints=200, kill=50, processes=None) # and the numbers of `all`

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = parser.add_subparsers(dest='test', required=True, metavar='TEST')
    for name,n in [*TESTS.items(), ('all', None)]:
        p = sub.add_parser(name, help=(globals()[name].__doc__ if name!='all' else 'All of them.'))
        if n: p.add_argument('--n', type=int, default=n, help=f'how many; {n} if left out')
        if name in ('videos', 'memory', 'half', 'all'): p.add_argument('--videos', type=Path, required=True, metavar='DIR', help='a folder of real clips')
        if name=='checkpoints': p.add_argument('--only', type=int, metavar='K', help='fault number K alone, with what the command says')
        p.add_argument('--seed', type=int, default=0, help='of everything random')
        p.add_argument('--out', type=Path, metavar='FILE', help='a CSV file with a row for each case')
    args = parser.parse_args()
    for k in ("out", "videos"):
        if getattr(args, k, None): setattr(args, k, getattr(args, k).resolve())
    results,commands = Results(args.out),None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped')) # the working folder goes in any case
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='stress-') as work:
        work = Path(work).resolve()
        os.environ['VLATENT_CACHE'] = str(work/'cache')
        os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, sys.path[1:])) # fresh interpreters find the same package
        os.chdir(work)
        warm()
        for name in TESTS if args.test=='all' else [args.test]:
            (work/name).mkdir()
            commands = commands or Commands(work/'commands')
            print(f"{name}: {globals()[name].__doc__}", flush=True)
            globals()[name](commands, work/name, results, n=getattr(args, 'n', None) or TESTS[name], seed=args.seed, videos=getattr(args, 'videos', None), only=getattr(args, 'only', None))
            shutil.rmtree(work/name, ignore_errors=True)
    bad = sum(not r['ok'] for r in results.rows)
    print(f"stress {args.test}: {'FAILED' if bad else 'ok'}: {len(results.rows)} cases, {bad} failed, {time.monotonic()-begin:.0f} s")
    return bool(bad)

if __name__=='__main__': sys.exit(main())
