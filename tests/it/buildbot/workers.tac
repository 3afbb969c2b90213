# All workers of the tests' master, in one process.
import os

from buildbot_worker.bot import Worker
from twisted.application import service

application = service.Application('workers')
for name in os.environ['WORKERS'].split():
    folder = os.path.abspath(name)
    os.makedirs(folder, exist_ok=True)
    port = int(os.environ['WORKERS_PORT'])
    Worker('127.0.0.1', port, name, 'pass', folder, keepalive=600, maxdelay=1).setServiceParent(application)
