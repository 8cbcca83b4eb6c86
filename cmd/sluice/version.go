package main

import (
	"runtime"
	"runtime/debug"
)

// release is the version, set by make build: -X main.release=...
var release string

// version is the release, or for what go build makes, the commit.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	var commit, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit + dirty
}

// versionLine is what sluice version prints.
func versionLine() string {
	return "sluice " + version() + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
