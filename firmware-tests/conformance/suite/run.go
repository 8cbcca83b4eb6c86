package suite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sluice/firmware-tests/conformance/statements"
	"sluice/firmware-tests/wire"
)

// Outcome is how a statement fared.
type Outcome string

const (
	Pass          Outcome = "pass"
	Fail          Outcome = "fail"
	NotRun        Outcome = "not run"        // the target has not what the tests need
	NotObservable Outcome = "not observable" // from outside
	Untested      Outcome = "untested"       // no test names it: a fault of the suite
)

// Result is the outcome of one statement for one side.
type Result struct {
	statements.Statement
	Side    Side     `json:"-"`
	Tests   []string // names
	Outcome Outcome
	Detail  string // of a failure, or why it was not run or cannot be seen
}

// atOnce is how many tests run side by side. Most of them wait.
const atOnce = 64

// Run runs the tests that apply to a target and returns a result for each statement
// and side that the tests are about, in the order of the statements. progress is
// called after each test, never twice at a time.
func Run(target *Target, side Side, tests []Test, progress func(done, all int)) ([]Result, error) {
	list, err := statements.All()
	if err != nil {
		return nil, err
	}
	b := newBoard(list, side, target)
	var runs []*run
	for _, test := range tests {
		if test.Side != side {
			continue
		}
		for _, version := range []string{"3.1.1", "5.0"} {
			ids := test.statements(version)
			if len(ids) == 0 {
				continue
			}
			rows, err := b.rows(version, ids)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", test.Name(), err)
			}
			runs = append(runs, &run{test, version, rows})
		}
	}
	b.runAll(runs, progress)
	return b.results(), nil
}

// run is one test in one version.
type run struct {
	test    Test
	version string
	rows    []*Result
}

// board collects outcomes.
type board struct {
	target *Target
	side   Side

	mu   sync.Mutex
	list []*Result
	byID map[string]*Result // by version and identifier
}

func newBoard(list []statements.Statement, side Side, target *Target) *board {
	b := &board{target: target, side: side, byID: map[string]*Result{}}
	for _, s := range list {
		r := &Result{Statement: s, Side: side, Outcome: Untested}
		b.byID[s.Version+" "+s.ID] = r
		if side == Server && s.Server || side == Client && s.Client {
			b.list = append(b.list, r)
		}
	}
	return b
}

// rows finds the results of statements. One that binds only the other side is
// listed for this side too, since a test of this side names it: a server sees the
// breach of a client.
func (b *board) rows(version string, ids []string) (rows []*Result, err error) {
	for _, id := range ids {
		r := b.byID[version+" "+id]
		if r == nil {
			return nil, fmt.Errorf("no statement %s in %s", id, version)
		}
		if !slices.Contains(b.list, r) {
			b.list = append(b.list, r)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (b *board) runAll(runs []*run, progress func(done, all int)) {
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	done := 0
	for _, r := range runs {
		slots <- struct{}{}
		wg.Go(func() {
			outcome, detail := b.play(r)
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, row := range r.rows {
				row.add(r.test.Name(), outcome, detail)
			}
			done++
			progress(done, len(runs))
			<-slots
		})
	}
	wg.Wait()
}

// play runs one test in one version.
func (b *board) play(r *run) (Outcome, string) {
	if r.test.Run == nil {
		return NotObservable, r.test.Unseen
	}
	version := wire.V311
	if r.version == "5.0" {
		version = wire.V5
		if !b.target.V5 {
			return NotRun, b.target.Name + " does not speak 5.0"
		}
	}
	return play(&T{Target: b.target, Version: version, name: r.test.Name(), breach: b.breach(r.version)}, r.test.Run)
}

// Play has one conversation that is about no statement, and says how it ended and why.
func Play(target *Target, version byte, name string, conversation func(*T)) (Outcome, string) {
	return play(&T{Target: target, Version: version, name: name, breach: func(rule, text string) {}}, conversation)
}

func play(t *T, conversation func(*T)) (Outcome, string) {
	t.run(conversation)
	switch {
	case t.failure != "":
		return Fail, t.name + ": " + t.failure
	case t.skipped != "":
		return NotRun, t.skipped
	}
	return Pass, ""
}

// breach fails the statement that a packet breaks, whatever the test was about.
func (b *board) breach(version string) func(rule, text string) {
	return func(rule, text string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if r := b.byID[version+" "+rule]; r != nil {
			r.add("every packet", Fail, text)
		}
	}
}

// add adds the outcome of one test: all must pass; what could not be run leaves the
// others to decide.
func (r *Result) add(test string, outcome Outcome, detail string) {
	if test != "" && !slices.Contains(r.Tests, test) {
		r.Tests = append(r.Tests, test)
	}
	rank := []Outcome{Untested, NotObservable, NotRun, Pass, Fail}
	if slices.Index(rank, outcome) > slices.Index(rank, r.Outcome) {
		r.Outcome, r.Detail = outcome, detail
	}
}

func (b *board) results() (all []Result) {
	for _, r := range b.list {
		slices.Sort(r.Tests)
		all = append(all, *r)
	}
	slices.SortStableFunc(all, func(a, c Result) int {
		return cmp.Or(strings.Compare(a.Version, c.Version), order(a.ID, c.ID))
	})
	return all
}

// order compares identifiers by their numbers.
func order(a, b string) int {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == '.' || r == '-' })
	}
	return slices.CompareFunc(split(a), split(b), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	})
}
