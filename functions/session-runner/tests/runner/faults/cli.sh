#!/bin/bash
# A CLI that says in each turn how many there were, and keeps and mirrors a transcript. A message that
# asks asks a person; one that works has a tool that runs until it is told to end, or for 20 s.
if [ "$1" = --version ]; then echo '2.1.328 (Claude Code)'; exit 0; fi
for argument in "$@"; do
  case "$argument" in
    --session-id=*) id=${argument#*=};;
    --resume=*) of=${argument#*=};;
    --settings=*) settings=${argument#*=};;
  esac
done
kept=$CLAUDE_CONFIG_DIR/projects/-workspace/${id:-$of}.jsonl
mkdir -p "${kept%/*}"
touch "$kept"

mirror() {
  echo "$1" >> "$kept"
  echo '{"type":"transcript_mirror","filePath":"'$kept'","entries":['"$1"']}'
}
becomes() {
  echo '{"type":"system","subtype":"session_state_changed","state":"'$1'"}'
}
call() {
  if ! grep -q '"id":"call-'$turn'"' "$kept"; then
    mirror '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"call-'$turn'","name":"'$1'","input":{}}]}}'
  fi
}
result() {
  mirror '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"call-'$turn'","content":"'$1'"}]}}'
}
# What the gate says about the call of this turn.
gate() {
  helper=$(sed 's/.*"command":"\([^"]*\)".*/\1/' "$settings")
  printf '{"hook_event_name":"PreToolUse","tool_name":"%s","tool_use_id":"call-%s","permission_mode":"default","tool_input":%s}' \
    $1 $turn "$2" | eval "$helper"
}
finish() {
  mirror '{"type":"assistant","message":{"content":[{"type":"text","text":"turn '$turn', after '"$text"'"}]}}'
  echo '{"type":"result","subtype":"success","result":"ok","user_message_uuids":["'$uuid'"]}'
  becomes idle
  mirror '{"type":"last-prompt","turn":'$turn'}'
}
ask() {
  call AskUserQuestion
  said=$(gate AskUserQuestion '{"questions":[{"question":"Which colour?"}]}')
  case "$said" in
    *'"defer"'*)
      echo '{"type":"result","subtype":"success","terminal_reason":"tool_deferred"}'
      becomes idle;;
    *)
      answer=$(printf %s "$said" | grep -o 'Blue' || echo none)
      echo "$answer" >> answers
      result $answer
      finish;;
  esac
}
work() {
  if grep -q '"tool_use_id":"call-'$turn'"' "$kept"; then
    echo again >> work
    finish
    return
  fi
  call Bash
  gate Bash '{"command":"ls"}' > /dev/null
  trap 'result ended; exit 143' TERM
  echo begun >> work
  for tenth in {1..200}; do sleep 0.1; done
  echo alone >> work
  result alone
  finish
}

read -r line
echo '{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{"claude_code_version":"2.1.328"}}}'
while read -r line; do
  case "$line" in
    *'"type":"user"'*)
      uuid=$(printf %s "$line" | sed 's/.*"uuid":"\([^"]*\)".*/\1/')
      text=$(printf %s "$line" | grep -o 'message [a-z]*' | head -n 1)
      becomes running
      echo '{"type":"system","subtype":"init","session_id":"s"}'
      if [ -n "$id" ] && [ -n "$of" ]; then
        while read -r entry; do mirror "$entry"; done < "${kept%/*}/$of.jsonl"
        of=
      fi
      if grep -q "$uuid" "$kept"; then
        # Its turn is open: it goes on.
        echo '{"type":"command_lifecycle","command_uuid":"'$uuid'","state":"completed"}'
        turn=$(grep -c '"content":"message' "$kept")
      else
        echo '{"type":"command_lifecycle","command_uuid":"'$uuid'","state":"started"}'
        case "$text" in
          *asks | *works) known=',"uuid":"'$uuid'"';;
          *) known=;;
        esac
        mirror '{"type":"user"'$known',"message":{"role":"user","content":"'"$text"'"}}'
        turn=$(grep -c '"content":"message' "$kept")
        echo "turn $turn" >> log
        mkdir -p "empty/$turn"
        ln -s log "link-$turn"
        chmod 700 log
      fi
      case "$text" in
        *asks) ask;;
        *works) work;;
        *) finish;;
      esac;;
  esac
done
