"""Settings of a Graphite whose files are all in GRAPHITE_DATA."""

import os

STORAGE_DIR = os.environ["GRAPHITE_DATA"]
WHISPER_DIR = f"{STORAGE_DIR}/whisper"
STANDARD_DIRS = [WHISPER_DIR]
LOG_DIR = STORAGE_DIR
INDEX_FILE = f"{STORAGE_DIR}/index"
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{STORAGE_DIR}/db"}}
