#!/usr/bin/env bash
# Tunes on this machine's CPU as two ranks, under mpirun, torchrun's variables and a Slurm that it starts for that: who gets
# which problems, a rank that is killed and goes on, and the merged database. Not part of scripts/test.sh: it needs root
# (Slurm's daemons) and packages that nothing else does.
#   scripts/test_scale_out.sh [FCSA]       the program, build/dev/cli/fcsa if not named
set -euo pipefail

cd "$(dirname "$0")/.."
fcsa=$(realpath "${1:-build/dev/cli/fcsa}")
if [ ! -x "$fcsa" ]; then
  echo "$fcsa is no program: build it (cmake --preset dev && cmake --build --preset dev --target fcsa), or name another" >&2
  exit 2
fi
if [ "$(id -u)" != 0 ]; then
  echo "Slurm's daemons need root: run this in a container" >&2
  exit 2
fi
missing=()
for package in slurmctld slurmd slurm-client munge openmpi-bin; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

folder=$(mktemp -d)
end() {
  for daemon in slurmd slurmctld munged; do
    [ ! -s "$folder/$daemon.pid" ] || kill "$(cat "$folder/$daemon.pid")" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap end EXIT
say() { printf '\n== %s\n' "$1"; }
fail() {
  echo "FAILED: $1" >&2
  exit 1
}

# Two tasks on one node, as root and without systemd.
start_slurm() {
  local node cores
  node=$(hostname -s) cores=$(nproc)
  [ "$cores" -ge 2 ] || fail "two tasks need two cores"
  mkdir -p "$folder/state" "$folder/spool" /run/munge
  [ -s /etc/munge/munge.key ] || mungekey --create 2>/dev/null || dd if=/dev/urandom of=/etc/munge/munge.key bs=1k count=1 status=none
  munged --force --pid-file "$folder/munged.pid" >"$folder/munged.log" 2>&1
  cat >"$folder/slurm.conf" <<CONF
ClusterName=fcsa
SlurmctldHost=$node
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
SchedulerType=sched/builtin
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=all Nodes=$node Default=YES State=UP
CONF
  export SLURM_CONF=$folder/slurm.conf
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF"
  for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && return
    sleep 0.5
  done
  tail -n 5 "$folder"/slurm*.log >&2
  fail "Slurm's node doesn't become idle"
}

# Six problems, a baseline and two more configurations each.
tune=("$fcsa" tune --device cpu --head-dim 32 --seq 16,32,48,64,80,96 --heads 2 --batch 1 --causal no --evals 3 --budget 100s
  --probes no --quiet --cache-dir "$folder/cache")
problems=6

# Of the databases of two ranks: each problem in one of them, all of them there, none measured twice.
check_parts() {
  python3 - "$problems" "$@" <<'PYTHON'
import sqlite3, sys
wanted, parts = int(sys.argv[1]), []
for file in sys.argv[2:]:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT p.text, c.text, count(*) FROM trials t JOIN problems p ON p.id = t.problem_id JOIN configurations c "
                          "ON c.id = t.configuration_id WHERE t.phase = 'search' GROUP BY 1, 2").fetchall()
    parts.append({problem for problem, _, _ in rows})
    again = [row for row in rows if row[2] > 1]
    if again:
        sys.exit(f"FAILED: {file} has trials more than once: {again}")
    if not parts[-1]:
        sys.exit(f"FAILED: {file} has no trials")
if parts[0] & parts[1]:
    sys.exit(f"FAILED: both ranks have measured {sorted(parts[0] & parts[1])}")
if len(parts[0] | parts[1]) != wanted:
    sys.exit(f"FAILED: {len(parts[0] | parts[1])} of {wanted} problems were measured")
print(f"{len(parts[0])} and {len(parts[1])} problems, none twice")
PYTHON
}

check_merged() {  # name of the parts
  local trials
  "$fcsa" db --db "$folder/$1-all.db" merge "$folder/$1-0.db" "$folder/$1-1.db"
  "$fcsa" emit --db "$folder/$1-all.db" --out "$folder/$1-include" >/dev/null
  [ -s "$folder/$1-include/fcsa_tuned_cpu.h" ] || fail "no header from the merged database"
  trials=$("$fcsa" db --db "$folder/$1-all.db" merge "$folder/$1-0.db" | grep -c ': 0 trials added') || true
  [ "$trials" = 1 ] || fail "merging a part again adds trials"
}

launch() {  # name of the parts, then the launcher
  local name=$1
  shift
  "$@" "${tune[@]}" --db "$folder/$name-{rank}.db"
  check_parts "$folder/$name-0.db" "$folder/$name-1.db"
  check_merged "$name"
}

say "mpirun"
launch mpi mpirun --allow-run-as-root --oversubscribe -n 2

say "What torchrun sets"
for rank in 0 1; do
  RANK=$rank WORLD_SIZE=2 LOCAL_RANK=$rank "${tune[@]}" --db "$folder/torch-{rank}.db" &
done
wait
check_parts "$folder/torch-0.db" "$folder/torch-1.db"
check_merged torch

say "srun"
start_slurm
launch slurm srun --quiet -n 2

trials_of() { # a database
  python3 -c 'import sqlite3, sys
print(sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute("SELECT count(*) FROM trials").fetchone()[0])' "$1" 2>/dev/null || echo 0
}

say "A killed rank goes on"
srun --quiet --kill-on-bad-exit=0 -n 2 "${tune[@]}" --db "$folder/killed-{rank}.db" &
launcher=$!
for _ in $(seq 600); do
  [ "$(trials_of "$folder/killed-1.db")" -ge 2 ] && break
  sleep 0.05
done
killed=0
for process in $(pgrep -x "$(basename "$fcsa")"); do
  grep -qz '^SLURM_PROCID=1$' "/proc/$process/environ" 2>/dev/null && kill -KILL "$process" && killed=$((killed + 1))
done
[ "$killed" -gt 0 ] || fail "rank 1 had ended before it could be killed"
wait "$launcher" && fail "srun says that a killed rank is fine"
before=$(trials_of "$folder/killed-1.db")
launch killed srun --quiet -n 2
after=$(trials_of "$folder/killed-1.db")
[ "$after" -gt "$before" ] || fail "rank 1 had ended before it was killed: $before trials then, $after now"
echo "rank 1 was killed after $before trials and has $after"

say "All of it is right"
