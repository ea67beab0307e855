#!/usr/bin/env bash
# A cluster on one machine, in under five minutes: certificates, the scheduler, three nodes, six
# training jobs of two tenants (one over two nodes), a cap that is lowered half-way, and where the
# joules went. Everything lands in runs/demo-cluster/, the samples of the run in samples.jsonl.
# Exit code 0 only if every job is completed and the watts kept to the cap.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
if [ -z "${WATTLE_BIN:-}" ]; then # set by tests, which are built already
  install_packages
  fetch_libtorch
  build default wattle wattled wattle-agent wattle-train
fi

root=$PWD
folder=runs/demo-cluster
high=150W low=90W
# A quiet machine takes a third of it.
phase_seconds=250
rm -rf "$folder" && mkdir -p "$folder" && cd "$folder"
PATH=${WATTLE_BIN:-$root/build/bin}:$PATH
export WATTLE_SERVER=127.0.0.1:7443 WATTLE_CA=certs/ca.crt WATTLE_CONFIG=/dev/null
pids=()

fail() { printf '\033[31mThe demo failed: %s\033[0m\n' "$*" >&2; exit 1; }

jobs_in() { as eve queue "$@" --json | grep -o '"job":[0-9]*' | cut -d: -f2; }

# Agents first get time to end what they run; nothing is left behind.
clean_up() {
  local code=$? job
  trap - EXIT INT TERM
  if [ "$code" != 0 ]; then
    tail -n 5 ./*.log >&2 2>/dev/null || true
    for job in $(jobs_in --state failed 2>/dev/null); do as eve logs "$job" --tail 2000 >&2 || true; done
  fi
  [ -z "${sampler:-}" ] || kill "$sampler" 2>/dev/null || true
  as eve cancel $(jobs_in 2>/dev/null) >/dev/null 2>&1 || true
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# as USER COMMAND...: the command with that user's certificate.
as() {
  local user=$1
  shift
  WATTLE_CERT=certs/user-$user.crt WATTLE_KEY=certs/user-$user.key wattle "$@"
}

# show USER COMMAND...: the same, with the command as it would be typed.
show() {
  local user=$1
  shift
  printf '\033[1m%s$ wattle %s\033[0m\n' "$user" "$*"
  as "$user" "$@"
}

nodes_up() { [ "$(as eve nodes --json 2>/dev/null | grep -o '"state":"UP"' | wc -l)" = 3 ]; }

wait_for_nodes() {
  local began=$SECONDS
  until nodes_up; do
    [ $((SECONDS - began)) -lt 60 ] || fail "three nodes did not come up within 60 s"
    sleep 0.5
  done
}

# watch half|all: shows the cluster until half of all steps, or all jobs, are done.
watch() {
  python3 "$root/launch/demo/watch.py" samples.jsonl "$1" "$phase_seconds" || fail "see above"
}

say "A site of its own: an authority, and a certificate for everyone"
wattle certs init --site demo
wattle certs issue daemon --host 127.0.0.1 >/dev/null
for i in 1 2 3; do wattle certs issue node "node-$i" >/dev/null; done
wattle certs issue user ada --tenant team-a >/dev/null
wattle certs issue user bob --tenant team-b >/dev/null
wattle certs issue user eve --tenant ops --role operator >/dev/null
wattle certs show

say "The scheduler and three nodes"
wattled "$root/configs/cluster/demo.yaml" >daemon.log 2>&1 & pids+=($!)
for i in 1 2 3; do
  wattle-agent "$root/configs/cluster/demo_agent_$i.yaml" >"node-$i.log" 2>&1 & pids+=($!)
done
wait_for_nodes
show eve nodes
WATTLE_CERT=certs/user-eve.crt WATTLE_KEY=certs/user-eve.key \
  python3 "$root/launch/demo/sample.py" samples.jsonl wattle & sampler=$!

say "Six jobs of two tenants"
cat "$root"/docs/*.md >text.txt
submit=(submit "$root/configs/cluster/demo_job.yaml" --input text.txt)
show ada "${submit[@]}" --name two-nodes --set job.ranks.min=3 --set job.ranks.max=3
show ada "${submit[@]}" --set 'job.sweep={list: [{optimizer.lr: 1.0e-3}, {optimizer.lr: 4.0e-3}]}' \
  --name rates
show bob "${submit[@]}" --set job.tenant=team-b --name first
show bob "${submit[@]}" --set job.tenant=team-b --name second
show bob "${submit[@]}" --set job.tenant=team-b --name after-first --set 'job.after=[first]'

watch half
show eve cap set "$low"
watch all

say "How it ended"
show eve queue --all
show ada explain 1
show eve report --by tenant
show eve report --by job
completed=$(jobs_in --state completed | wc -l)
[ "$completed" = 6 ] || fail "$completed of 6 jobs are completed"
kill "$sampler" && wait "$sampler" 2>/dev/null || true
python3 "$root/launch/demo/check_samples.py" samples.jsonl
say "Done in $SECONDS s"
