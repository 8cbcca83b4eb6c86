package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseEnvFile(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"A=1\nB=2":                        "1 A=1, 2 B=2",
		"\n# A=1\n ; B=2\n\n  C = 3 \t\n": "5 C=3",
		"A=1\r\nB=\r\n":                   "1 A=1, 2 B=",
		"A='x y'  # not a comment\nB=x y": "1 A=x y# not a comment (comment?), 2 B=x y",
		"A=x   # a\nB=x # y\nC='x # y'\nD=a/#\nE=#": "1 A=x   # a (comment?), 2 B=x # y (comment?), 3 C=x # y, 4 D=a/#, 5 E=#",
		"A='s/+ -> t/$1 \\'\n":                      `1 A=s/+ -> t/$1 \`,
		`A="a\"b\\c\$d\e" 'f'` + "\n":               `1 A=a"b\c$d\ef`,
		"A=one \\\n two\nB=3":                       "1 A=one  two, 3 B=3",
		"A='one\ntwo'\nB=\"3 \\\n4\"\nC=":           "1 A=one\ntwo, 3 B=3 4, 5 C=",
		`A=a\'b\ ` + "\n":                           "1 A=a'b ",
		"A=it's\nB=a\"b":                            "1 A=it's, 2 B=a\"b",
		"A=1\nA=2":                                  "1 A=1, 2 A=2",
		"A=1\nB\nC=3":                               "1 A=1, 3 C=3; 2: no NAME=value: put # in front of a comment",
		"A B=1\nC=3":                                `2 C=3; 1: "A B" is no name of a variable: letters, digits and _`,
		"A=1\nB='2\nC=3":                            "1 A=1, 2 B=2\nC=3; 2: the quotation mark of B is not closed",
	} {
		list, line, err := parseEnvFile([]byte(text))
		var parts []string
		for _, v := range list {
			part := fmt.Sprintf("%d %s=%s", v.line, v.name, v.value)
			if v.comment {
				part += " (comment?)"
			}
			parts = append(parts, part)
		}
		got := strings.Join(parts, ", ")
		if err != nil {
			got += fmt.Sprintf("; %d: %v", line, err)
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

// The file that sluice config env writes can be used at once, with every # taken out too.
func TestOwnEnvFile(t *testing.T) {
	text := environmentFile()
	if list, line, err := parseEnvFile([]byte(text)); len(list) > 0 || err != nil {
		t.Errorf("%d variables, line %d: %v", len(list), line, err)
	}
	list, line, err := parseEnvFile([]byte(strings.ReplaceAll(text, "\n#SLUICE_", "\nSLUICE_")))
	if err != nil || len(list) < 50 {
		t.Errorf("%d variables, line %d: %v", len(list), line, err)
	}
}

func TestWithFile(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "env", "SLUICE_MQTT_ADDR=:1\nSLUICE_WS_ADDR=:2\nGOGC=50\nSLUICE_ENV_FILE=x\nSLUICE_QUEUE_POLICY=no\nSLUICE_BRIDGE_0_PASWORD=x\nSLUICE_SN_GATEWAY_ID=1 # first")
	environ := map[string]string{"SLUICE_ENV_FILE": path, "SLUICE_MQTT_ADDR": ":3", "SLUICE_DATA_DIR": t.TempDir()}
	s, err := readSettings(environ)
	if s.MQTTAddr != ":3" || s.WSAddr != ":2" {
		t.Errorf("addresses %s and %s: the environment goes before the file", s.MQTTAddr, s.WSAddr)
	}
	for _, want := range []string{
		"SLUICE_ENV_FILE: " + path + ":3: GOGC is no setting of Sluice: set it in the environment",
		"SLUICE_ENV_FILE: " + path + ":4: a file names no other: leave it out",
		`SLUICE_QUEUE_POLICY (` + path + `:5): "no" is none of reject`,
		"SLUICE_SN_GATEWAY_ID (" + path + ":7): what stands behind # is part of the value: write a comment on a line of its own",
		`SLUICE_SN_GATEWAY_ID (` + path + `:7): "1 # first" is not a whole number up to 255`,
		"SLUICE_BRIDGE_0_PASWORD (" + path + ":6): there is no such setting: SLUICE_BRIDGE_0_PASSWORD, perhaps?",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the faults are\n%v\nand not %s", err, want)
		}
	}
	environ["SLUICE_ENV_FILE"] = filepath.Join(t.TempDir(), "none")
	if _, err := readSettings(environ); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
	write(t, dir, "env", strings.Repeat("# long\n", maxEnvFile/7+1))
	environ["SLUICE_ENV_FILE"] = path
	if _, err := readSettings(environ); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file that is too large: %v", err)
	}
}
