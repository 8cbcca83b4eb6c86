package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sluice/firmware-tests/rig"
)

// source is a player in C or C++ and what it takes to compile it.
type source struct {
	file            string
	header, debian  string // of the library, and the package that has it
	compiler, tools string // and the packages that have it
	linked          []string
}

var (
	libmosquitto = source{"libmosquitto/player.c", "mosquitto.h", "libmosquitto-dev", "gcc", "gcc libc6-dev", []string{"-lmosquitto"}}
	pahoC        = source{"pahoc/player.c", "MQTTClient.h", "libpaho-mqtt-dev", "gcc", "gcc libc6-dev", []string{"-lpaho-mqtt3cs"}}
	pahoCPP      = source{"pahocpp/player.cpp", "mqtt/async_client.h", "libpaho-mqttpp-dev", "g++", "g++", []string{"-lpaho-mqttpp3", "-lpaho-mqtt3as"}}
)

// compiled opens a library of Debian's with a player in C or C++.
func compiled(s source) func(*testing.T) (string, func(*testing.T) client) {
	return func(t *testing.T) (string, func(*testing.T) client) {
		compiler, err := rig.Find(s.compiler, s.tools)
		need(t, err)
		need(t, rig.FindFile("/usr/include/"+s.header, s.debian))
		player := filepath.Join(t.TempDir(), "player")
		out, err := exec.Command(compiler, append([]string{"-Wall", "-Werror", "-o", player, s.file}, s.linked...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("compile %s: %v\n%s", s.file, err, out)
		}
		return debianVersion(s.debian), processes(player)
	}
}

// python opens Debian's Eclipse Paho for Python.
func python(t *testing.T) (string, func(*testing.T) client) {
	const debian = "python3-paho-mqtt"
	need(t, rig.FindFile("/usr/lib/python3/dist-packages/paho/mqtt/client.py", debian))
	return debianVersion(debian), reused(t, "/usr/bin/python3", "pahopython/player.py")
}

// npm opens a library of the npm registry: folder has the player, and a lock
// file that names the library and all it needs.
func npm(folder, library string) func(*testing.T) (string, func(*testing.T) client) {
	return func(t *testing.T) (string, func(*testing.T) client) {
		node, err := rig.Look("node", "nodejs")
		need(t, err)
		dir, err := npmInstall(folder)
		need(t, err)
		manifest, err := os.ReadFile(filepath.Join(dir, "node_modules", library, "package.json"))
		need(t, err)
		var is struct{ Version string }
		need(t, json.Unmarshal(manifest, &is))
		return is.Version, reused(t, node, filepath.Join(dir, "player.js"))
	}
}

// npmInstall puts a folder and what its lock file names into a directory of the
// user's cache, once for every lock file.
func npmInstall(folder string) (dir string, err error) {
	npm, err := rig.Look("npm", "npm")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir = filepath.Join(cache, "sluice-firmware-tests", folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "package-lock.json", "player.js"} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return "", err
		}
	}
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return "", err
	}
	installed := filepath.Join(dir, "installed") // a copy of the lock file, made last
	if have, _ := os.ReadFile(installed); bytes.Equal(have, lock) {
		return dir, nil
	}
	cmd := exec.Command(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w (npm ci: %s)", folder, rig.ErrMissing, bytes.TrimSpace(out))
	}
	return dir, os.WriteFile(installed, lock, 0o644)
}

// need skips the test if something is not installed, and ends it at any other
// error.
func need(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// debianVersion is the version of an installed package.
func debianVersion(name string) string {
	version, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", name).Output()
	if err != nil {
		return "unknown"
	}
	return string(version)
}
