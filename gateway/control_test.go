package gateway

import (
	"log/slog"
	"strings"
	"testing"

	"sluice/codec"
	"sluice/codec/sn"
)

func TestControl(t *testing.T) {
	list := accounts(t, "boss", " write #", " write $CONTROL/bridge/+", "device", "other", " write #", "all", " read #", " read $CONTROL/#")
	told := ""
	log := &journal{}
	cfg := Config{Access: list, Log: slog.New(slog.NewTextHandler(log, nil)), Control: func(cmd *Command) codec.ReasonCode {
		switch cmd.Payload {
		case "sink":
			cmd.Why = "floats only"
			fallthrough
		case "fly":
			return codec.PayloadFormatInvalid
		}
		told += cmd.Topic + " " + cmd.Payload + ";"
		return codec.Success
	}}
	inBubble(t, cfg, func(at *site) {
		for _, v := range versions {
			told = ""
			all := at.join("all", v, as("all", "sesame"))
			all.subscribe(1, "$CONTROL/#", "#")
			boss := at.join("boss", v, as("boss", "sesame"))
			boss.send(message("$CONTROL/bridge/cloud", "pause", 1, 1), message("$CONTROL/bridge/cloud", "resume", 2, 2), message("$CONTROL/bridge/cloud", "drain", 0, 0))
			boss.want("acknowledged when it has been obeyed", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2})
			boss.send(message("$CONTROL/bridge/cloud", "resume", 2, 2), &codec.Pubrel{ID: 2})
			boss.want("once", &codec.Pubrec{ID: 2}, &codec.Pubcomp{ID: 2})
			refusal := func(code codec.ReasonCode) *codec.Puback {
				if v != codec.V5 {
					code = codec.Success // 3.1.1 knows no refusal
				}
				return &codec.Puback{ID: 3, Code: code, ReasonString: reasonIf(v, code)}
			}
			boss.send(message("$CONTROL/bridge/cloud", "fly", 1, 3))
			boss.want("what makes no sense is refused", refusal(codec.PayloadFormatInvalid))
			if v == codec.V5 {
				boss.send(message("$CONTROL/bridge/cloud", "sink", 1, 3), message("$CONTROL/bridge/cloud", "sink", 2, 4))
				boss.want("in words of the program, if it has some",
					&codec.Puback{ID: 3, Code: codec.PayloadFormatInvalid, ReasonString: []byte("floats only")},
					&codec.Pubrec{ID: 4, Code: codec.PayloadFormatInvalid, ReasonString: []byte("floats only")})
			}
			boss.send(message("$CONTROL/other", "pause", 1, 3))
			boss.want("where the file lets nobody write", refusal(codec.NotAuthorized))
			for _, name := range []string{"device", "other"} {
				p := at.join(name, v, as(name, "sesame"))
				p.send(message("$CONTROL/bridge/cloud", "pause", 1, 3))
				p.want("an account has to be let write there", refusal(codec.NotAuthorized))
				p.cut()
			}
			if told != "bridge/cloud pause;bridge/cloud resume;bridge/cloud drain;" {
				t.Errorf("told %q", told)
			}
			if line := "user=boss topic=$CONTROL/bridge/cloud payload=drain outcome=success"; !strings.Contains(log.String(), line) {
				t.Errorf("the log does not say %s:\n%s", line, log.String())
			}
			all.wantIdle("nobody else hears of it")
			all.cut()
			boss.cut()
		}
	})
	cfg.Access = nil
	inBubble(t, cfg, func(at *site) {
		p := at.join("p", codec.V5) // whose address is not known
		p.send(message("$CONTROL/bridge/cloud", "pause", 1, 3))
		p.want("without accounts only who is on this machine", &codec.Puback{ID: 3, Code: codec.NotAuthorized, ReasonString: reasonIf(codec.V5, codec.NotAuthorized)})

		m := at.field().join("m")
		id := m.register("$CONTROL/bridge/cloud")
		m.send(&sn.Publish{QoS: 1, TopicID: id, MessageID: 7, Data: []byte("pause")})
		m.want("no device, wherever it seems to be", &sn.Puback{TopicID: id, MessageID: 7, Code: sn.NotSupported})
	})
}

// A note that a command leaves is on disk before the command is acknowledged.
func TestCommandIsKept(t *testing.T) {
	cfg := Config{Access: accounts(t, "boss", " write $CONTROL/x"), Control: func(cmd *Command) codec.ReasonCode {
		cmd.Keep("$bridge/up", cmd.Payload)
		return codec.Success
	}}
	onDisk(t, cfg, func(at *site) {
		want := func(sentence, note string) {
			t.Helper()
			if got := at.srv.Kept("$bridge/up"); got != note {
				t.Errorf("%s the note is %q, want %q", sentence, got, note)
			}
		}
		at.provision("$bridge/up", "plant/#")
		for _, note := range []string{"pause", "pause", "", "hold"} {
			boss := at.join("boss", codec.V5, as("boss", "sesame"))
			at.disk <- struct{}{}
			boss.send(message("$CONTROL/x", note, 1, 1))
			boss.send(message("$CONTROL/x", note, 1, 2))
			boss.wantIdle("neither is on disk")
			<-at.disk
			boss.want("both are", &codec.Puback{ID: 1}, &codec.Puback{ID: 2})
			at.crash(nil)
			want("after a power cut", note)
		}
		at.srv.Rename("$bridge/up", "$bridge/other")
		at.restart()
		want("the old name is gone and", "")
		at.srv.Rename("$bridge/other", "$bridge/up")
		want("called otherwise", "hold")
		at.srv.Forget("$bridge/up")
		at.provision("$bridge/up", "plant/#")
		want("forgotten", "")
		at.restart()
		want("forgotten, after a restart", "")
	})
}

func reasonIf(v codec.Version, code codec.ReasonCode) []byte {
	if v != codec.V5 || code < codec.UnspecifiedError {
		return nil
	}
	return []byte(code.String())
}
