"""Writes a minute of a series, with a hole at its end, and serves it: serve.py ADDRESS:PORT."""

import os
import sys
import time

os.environ.setdefault("GRAPHITE_SETTINGS_MODULE", "serin_settings")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "graphite.settings")

import whisper
from django.core.management import execute_from_command_line

folder = f"{os.environ['GRAPHITE_DATA']}/whisper/shop"
os.makedirs(folder)
whisper.create(f"{folder}/errors.wsp", [(1, 3600)])
now = int(time.time())
whisper.update_many(f"{folder}/errors.wsp", [(now - age, 0.25) for age in range(10, 60)])
execute_from_command_line(["serve.py", "runserver", "--noreload", "--insecure", sys.argv[1]])
