"""`helios doctor`: whether a configuration, its servers and this machine fit each other, and what to do where not.

Figures are gathered by `asking` (servers), `listening` (addresses) and `machine` (files, limits); what they mean is
said by the modules `about_...`, which are pure: figures in, findings out. `examination` runs it all, each part with a
time limit of its own, and `command` is the command.
"""
