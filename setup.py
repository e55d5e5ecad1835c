"Everything about the package is in settings.ini; this file only hands it to setuptools."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

# decord reads clips fast but has wheels for few platforms; without it PyAV reads (chapter 02)
readers = ["decord>=0.6; platform_machine=='x86_64' or platform_machine=='AMD64'",
           "eva-decord>=0.6; sys_platform=='darwin' and platform_machine=='arm64'"]

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
    packages=find_packages(include=['vlatent', 'vlatent.*']), include_package_data=True,
    package_data={'vlatent': ['assets/**/*']},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split() + readers,
    extras_require={'dev': cfg['dev_requirements'].split(), 'text': cfg['text_requirements'].split()},
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False)
