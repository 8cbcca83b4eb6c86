package main

import (
	"embed"
	"fmt"
)

// The help is text, one file for each command, and help.txt for all.
//
//go:embed help/*.txt
var helpTexts embed.FS

// help explains a command, or says which there are.
func (c *command) help() int {
	name := "help"
	if len(c.args) > 0 {
		name = c.args[0]
	}
	text := helpOf(name)
	if text == "" {
		fmt.Fprintf(c.stderr, "sluice: there is no command %q: sluice help lists them\n", name)
		return exitUsage
	}
	fmt.Fprint(c.stdout, text)
	return exitOK
}

// helpOf is the help on a command, empty if there is no such command.
func helpOf(name string) string {
	text, err := helpTexts.ReadFile("help/" + name + ".txt")
	if err != nil {
		return ""
	}
	return string(text)
}
