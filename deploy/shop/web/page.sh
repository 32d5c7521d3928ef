#!/bin/sh
# Counts the visit in redis and says who served it.
visits=$(printf 'INCR visits\r\nQUIT\r\n' | nc -w 2 data 6379 | head -n 1 | tr -dc 0-9)
printf 'Content-Type: text/plain\r\n\r\n'
printf 'visit %s, served by %s\n' "${visits:-unknown (no answer from data)}" "$(hostname)"
