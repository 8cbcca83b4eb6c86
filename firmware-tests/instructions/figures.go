package instructions

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A platform is what a binary is built for, and the processor that QEMU plays.
type platform struct {
	arch, variant string
	emulator, cpu string
}

var platforms = []platform{
	{"amd64", "GOAMD64=v1", "qemu-x86_64", "max"},
	{"arm", "GOARM=6", "qemu-arm", "arm1176"},               // the first Raspberry Pi, and Zero
	{"arm64", "GOARM64=v8.0", "qemu-aarch64", "cortex-a53"}, // Raspberry Pi 3
}

// figures are instructions by operation and platform. A line of the file is an
// operation and one figure for each platform, with tabs between.
type figures map[string]map[string]int

func readFigures(name string) (figures, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	all := figures{}
	var columns []string
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		if columns == nil {
			columns = fields[1:]
			continue
		}
		if len(fields) != 1+len(columns) {
			return nil, fmt.Errorf("%s: %d columns in %q", name, len(fields), lines.Text())
		}
		for i, column := range columns {
			n, err := strconv.Atoi(fields[1+i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all.set(fields[0], column, n)
		}
	}
	return all, nil
}

func (all figures) set(operation, platform string, n int) {
	if all[operation] == nil {
		all[operation] = map[string]int{}
	}
	all[operation][platform] = n
}

// write puts the operations in alphabetical order. One without a figure for each
// platform is left out.
func (all figures) write(name string) error {
	var columns, lines []string
	for _, p := range platforms {
		columns = append(columns, p.arch)
	}
	for operation, by := range all {
		line := operation
		for _, column := range columns {
			line += "\t" + strconv.Itoa(by[column])
		}
		if len(by) == len(columns) {
			lines = append(lines, line+"\n")
		}
	}
	slices.Sort(lines)
	head := "operation\t" + strings.Join(columns, "\t") + "\n"
	return os.WriteFile(name, []byte(head+strings.Join(lines, "")), 0o644)
}
