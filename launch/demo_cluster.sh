#!/usr/bin/env bash
# A cluster on one machine, in under five minutes: certificates, the scheduler, three nodes, six
# training jobs of two tenants (one over two nodes), a cap that is lowered half-way, and where the
# joules went. Everything lands in runs/demo-cluster/, the samples of the run in samples.jsonl.
# Exit code 0 only if every job is completed and the watts kept to the cap.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages
fetch_libtorch
build default wattle wattled wattle-agent wattle-train

root=$PWD
folder=runs/demo-cluster
high=150W low=90W
rm -rf "$folder" && mkdir -p "$folder" && cd "$folder"
PATH=$root/build/bin:$PATH
export WATTLE_SERVER=127.0.0.1:7443 WATTLE_CONFIG=/dev/null
pids=()

fail() { printf '\033[31mThe demo failed: %s\033[0m\n' "$*" >&2; exit 1; }

# Agents first get time to end what they run; nothing is left behind.
clean_up() {
  local code=$?
  trap - EXIT INT TERM
  [ -z "${sampler:-}" ] || kill "$sampler" 2>/dev/null || true
  as eve cancel $(as eve queue --json 2>/dev/null | python3 -c \
    'import json, sys; print(*[job["job"] for job in json.load(sys.stdin)])' 2>/dev/null) \
    >/dev/null 2>&1 || true
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ "$code" = 0 ] || tail -n 5 *.log >&2 2>/dev/null || true
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# as USER COMMAND...: what that user's wattle says.
as() {
  local user=$1
  shift
  wattle "$@" --ca certs/ca.crt --cert "certs/user-$user.crt" --key "certs/user-$user.key"
}

# show USER COMMAND...: the same, with the command as it would be typed.
show() {
  local user=$1
  shift
  printf '\033[1m%s$ wattle %s\033[0m\n' "$user" "$*"
  as "$user" "$@"
}

# wait_until SECONDS WHAT COMMAND...
wait_until() {
  local seconds=$1 what=$2 began=$SECONDS
  shift 2
  until "$@"; do
    [ $((SECONDS - began)) -lt "$seconds" ] || fail "$what within $seconds s"
    sleep 0.5
  done
}

nodes_up() { [ "$(as eve nodes --json 2>/dev/null | grep -o '"state":"UP"' | wc -l)" = 3 ]; }
half_done() { [ "$(as eve queue --state completed --json | grep -o '"job":' | wc -l)" -ge 2 ]; }
all_done() { [ "$(as eve queue --json)" = "[]" ]; }

# A picture of the cluster: in place on a terminal, now and then elsewhere.
picture() {
  local text
  text=$(as eve cap show | head -n 4; echo; as eve nodes; echo; as eve queue --all)
  if [ -t 1 ]; then
    printf '\033[H\033[2J\033[1mWattle: %s, %d s\033[0m\n\n%s\n' "$1" "$SECONDS" "$text"
  elif [ $((SECONDS - ${pictured:--30})) -ge 30 ]; then
    pictured=$SECONDS
    printf '\n== %s, %d s\n%s\n' "$1" "$SECONDS" "$text"
  fi
}

watch_until() {
  local seconds=$1 title=$2 began=$SECONDS
  shift 2
  until "$@"; do
    [ $((SECONDS - began)) -lt "$seconds" ] || fail "$title was not over within $seconds s"
    picture "$title"
    sleep 1
  done
  pictured=-30 picture "$title"
}

sample() {
  while true; do
    python3 "$root/launch/demo/sample.py" <(as eve cap show --json) <(as eve queue --json) \
      >>samples.jsonl 2>/dev/null || true
    sleep 1
  done
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
wait_until 30 "three nodes did not come up" nodes_up
show eve nodes
sample & sampler=$!

say "Six jobs of two tenants"
cat "$root"/docs/*.md >text.txt
submit=(submit "$root/configs/cluster/demo_job.yaml" --input text.txt)
show ada "${submit[@]}" --name two-nodes --set job.ranks.min=3 --set job.ranks.max=3
show ada "${submit[@]}" --set 'job.sweep={list: [{optimizer.lr: 1.0e-3}, {optimizer.lr: 4.0e-3}]}' \
  --name rates
show bob "${submit[@]}" --set job.tenant=team-b --name first
show bob "${submit[@]}" --set job.tenant=team-b --name second
show bob "${submit[@]}" --set job.tenant=team-b --name after-first --set 'job.after=[first]'

watch_until 140 "under a cap of $high" half_done
show eve cap set "$low"
watch_until 140 "under a cap of $low" all_done

say "How it ended"
show eve queue --all
show ada explain 1
show eve report --by tenant
show eve report --by job
completed=$(as eve queue --state completed --json | grep -o '"job":' | wc -l)
[ "$completed" = 6 ] || fail "$completed of 6 jobs are completed"
kill "$sampler" && wait "$sampler" 2>/dev/null || true
python3 "$root/launch/demo/check_samples.py" samples.jsonl
say "Done in $SECONDS s"
