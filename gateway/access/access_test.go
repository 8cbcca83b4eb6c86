package access

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// cheap is a hash with few iterations, so that tests spend their time elsewhere.
func cheap(password string) string {
	h := hash{iterations: minIterations, salt: []byte("pepper and salt")}
	h.stored, h.server = h.keys([]byte(password))
	return h.String()
}

func mustParse(t *testing.T, text string) *List {
	t.Helper()
	l, err := parse("users", text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestVerify(t *testing.T) {
	hashed, err := Hash([]byte("sesame"))
	if err != nil {
		t.Fatal(err)
	}
	l := mustParse(t, "ali:"+hashed+"\nkasim:"+cheap("gold")+"\n*\n")
	for _, c := range []struct {
		user, password string
		want           bool
	}{
		{"ali", "sesam", false},
		{"ali", "sesame", true},
		{"ali", "sesame", true}, // from memory
		{"ali", "sesame ", false},
		{"ali", "", false},
		{"ali", "gold", false},
		{"kasim", "sesame", false},
		{"kasim", "gold", true},
		{"ali", "sesame", true},
		{"Ali", "sesame", false},
		{"nobody", "sesame", false},
		{"nobody", "", false},
		{"", "", false},
		{"*", "", false},
	} {
		if got := l.Verify(c.user, []byte(c.password)); got != c.want {
			t.Errorf("Verify(%q, %q) is %v, want %v", c.user, c.password, got, c.want)
		}
	}
	if (*List)(nil).Verify("ali", []byte("sesame")) {
		t.Error("a list that was never loaded lets someone in")
	}
}

// Two accounts may have one password; what is remembered of the one must not
// open a third that has another.
func TestVerifyRemembersForEachAccount(t *testing.T) {
	l := mustParse(t, "a:"+cheap("same")+"\nb:"+cheap("same")+"\nc:"+cheap("other")+"\n")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if !l.Verify("a", []byte("same")) || !l.Verify("b", []byte("same")) || l.Verify("c", []byte("same")) {
				t.Error("the password of a and b opens a and b, and not c: it did not")
			}
		})
	}
	wg.Wait()
}

func TestVerifyIsQuickTheSecondTime(t *testing.T) {
	hashed, err := Hash([]byte("sesame"))
	if err != nil {
		t.Fatal(err)
	}
	l := mustParse(t, "ali:"+hashed+"\n")
	if l.accounts["ali"].verified.is(mac(l.key[:], []byte("sesame"))) {
		t.Fatal("a password counts as verified before it was")
	}
	l.Verify("ali", []byte("sesamo"))
	if l.accounts["ali"].verified.is(mac(l.key[:], []byte("sesamo"))) {
		t.Fatal("a wrong password is remembered as right")
	}
	l.Verify("ali", []byte("sesame"))
	if !l.accounts["ali"].verified.is(mac(l.key[:], []byte("sesame"))) {
		t.Fatal("a right password is not remembered")
	}
}

func TestHashesDiffer(t *testing.T) {
	a, _ := Hash([]byte("sesame"))
	b, _ := Hash([]byte("sesame"))
	if a == b {
		t.Errorf("two hashes of one password are the same: %s", a)
	}
	for _, empty := range []string{"", "\u00ad"} { // SASLprep drops a soft hyphen
		if _, err := Hash([]byte(empty)); err == nil {
			t.Errorf("the empty password %q is hashed", empty)
		}
	}
	h, err := parseHash(a)
	if err != nil || h.String() != a {
		t.Errorf("%s reads back as %v, %v", a, &h, err)
	}
}

func TestGrants(t *testing.T) {
	l := mustParse(t, `
# What may be done, and by whom.
pump:`+cheap("x")+`
	readwrite plant/%u/#
	read      commands/+/now
	write     a b/with spaces  
press:`+cheap("x")+`
*
    write devices/%c/state
    read  $SYS/#
    read  %u-inbox/#
`)
	for _, c := range []struct {
		user, id, verb, topic string
		want                  bool
	}{
		{"pump", "id", "write", "plant/pump/pressure", true},
		{"pump", "id", "write", "plant/pump", true}, // "#" reaches its parent
		{"pump", "id", "write", "plant/press/pressure", false},
		{"pump", "id", "write", "plant/pump2/pressure", false},
		{"pump", "id", "read", "plant/pump/#", true},
		{"pump", "id", "read", "plant/pump/+/x", true},
		{"pump", "id", "read", "plant/+/x", false},
		{"pump", "id", "read", "plant/#", false},
		{"pump", "id", "read", "#", false},
		{"pump", "id", "read", "commands/7/now", true},
		{"pump", "id", "read", "commands/+/now", true},
		{"pump", "id", "read", "commands/#", false},
		{"pump", "id", "read", "commands/7/now/then", false},
		{"pump", "id", "write", "commands/7/now", false},
		{"pump", "id", "write", "a b/with spaces", true},
		{"pump", "id", "read", "$share/g/plant/pump/x", true},
		{"pump", "id", "read", "$share/plant/press/x", false},
		{"pump", "id", "read", "pump-inbox/1", true},
		{"pump", "id", "read", "press-inbox/1", false},
		{"pump", "id", "write", "devices/id/state", true},
		{"pump", "id", "write", "devices/other/state", false},
		{"press", "id", "write", "devices/id/state", true},
		{"press", "id", "write", "plant/press/x", false}, // * has grants, so nothing else is allowed
		{"press", "id", "read", "$SYS/broker/clients", true},
		{"press", "id", "write", "$SYS/broker/clients", false},
		{"", "id", "write", "devices/id/state", true},
		{"", "id", "write", "plant/pump/x", false},
		{"", "id", "read", "-inbox/1", false}, // no user name, no topic named after it
		{"", "", "write", "devices//state", false},
		{"stranger", "id", "write", "devices/id/state", true},
	} {
		if got := l.can(c.verb, c.user, c.id, c.topic); got != c.want {
			t.Errorf("user %q as client %q: %s %s is %v, want %v", c.user, c.id, c.verb, c.topic, got, c.want)
		}
	}
}

func TestPublishingAllocatesNothing(t *testing.T) {
	l := mustParse(t, "pump:"+cheap("x")+"\n write plant/%u/+/pressure/of/the/second/stage\n*\n read $SYS/#\n")
	topic := []byte("plant/pump/7/pressure/of/the/second/stage")
	if n := testing.AllocsPerRun(100, func() {
		if !l.CanPublish("pump", "c", topic) {
			t.Fatal("may not publish")
		}
	}); n != 0 {
		t.Errorf("a decision allocates %v times", n)
	}
}

// A client chooses its identifier; one that looks like a filter gains nothing.
func TestNamesAreNotWildcards(t *testing.T) {
	l := mustParse(t, "*\n readwrite devices/%c/#\n readwrite homes/x%u\n")
	for _, name := range []string{"#", "+", "a/b", "+/#", "", "a#"} {
		for _, topic := range []string{"devices/a/b", "devices/" + name + "/x", "devices/+/x", "devices/#", "homes/x" + name, "homes/xa"} {
			if l.can("read", name, name, topic) {
				t.Errorf("named %q, one may read %q", name, topic)
			}
		}
	}
	if !l.can("read", "", "%u", "devices/%u/x") {
		t.Error("an identifier with a percent sign is taken for more than it is")
	}
	if l.can("read", "", "pump", "devices/%c/x") {
		t.Error("a topic as it is written in the users file is anybody's")
	}
}

func TestWithoutGrantsAllButServersTopics(t *testing.T) {
	for name, l := range map[string]*List{
		"no list":   nil,
		"no grants": mustParse(t, "pump:"+cheap("x")+"\n"),
	} {
		for _, user := range []string{"pump", ""} {
			for _, c := range []struct {
				verb, topic string
				want        bool
			}{
				{"write", "any/topic", true},
				{"write", "$SYS/x", false},
				{"write", "$SYS", false},
				{"write", "$CONTROL/bridge/cloud", false},
				{"write", "$SYSTEM/x", true},
				{"read", "#", true},
				{"read", "$SYS/#", true},
			} {
				if got := l.can(c.verb, user, "id", c.topic); got != c.want {
					t.Errorf("%s, user %q: %s %s is %v, want %v", name, user, c.verb, c.topic, got, c.want)
				}
			}
		}
	}
}

// Wildcards of the first level do not reach $ topics. [MQTT-4.7.2-1]
func TestWildcardsStopAtDollar(t *testing.T) {
	l := mustParse(t, "*\n readwrite #\n")
	if !l.can("read", "", "c", "#") || !l.can("read", "", "c", "a/#") {
		t.Error("a grant on # does not cover #")
	}
	if l.can("read", "", "c", "$SYS/#") || l.can("write", "", "c", "$SYS/x") {
		t.Error("a grant on # covers $SYS")
	}
	l = mustParse(t, "*\n readwrite +/x\n")
	if l.can("read", "", "c", "$SYS/x") || !l.can("read", "", "c", "SYS/x") {
		t.Error("a grant on +/x covers $SYS/x, or does not cover SYS/x")
	}
}

func (l *List) can(verb, user, clientID, topic string) bool {
	if verb == "write" {
		return l.CanPublish(user, clientID, []byte(topic))
	}
	return l.CanSubscribe(user, clientID, []byte(topic))
}

// matches is section 4.7.1 written out: the oracle for covers.
func matches(filter, topic []string) bool {
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(topic) || level != "+" && level != topic[i]:
			return false
		}
	}
	return len(filter) == len(topic)
}

// Whatever is covered must be matched, topic by topic. With as many letters as
// levels to tell filters apart, not being covered shows in some topic as well.
func TestCoversAgreesWithMatching(t *testing.T) {
	var topics [][]string
	letters := []string{"a", "b", "c"}
	for _, x := range letters {
		topics = append(topics, []string{x})
		for _, y := range letters {
			topics = append(topics, []string{x, y})
			for _, z := range letters {
				topics = append(topics, []string{x, y, z}, []string{x, y, z, "c"})
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	filter := func() []string {
		var f []string
		for range 1 + random.IntN(3) {
			f = append(f, []string{"a", "b", "+"}[random.IntN(3)])
		}
		if random.IntN(3) == 0 {
			f = append(f[:random.IntN(len(f)+1)], "#")
		}
		return f
	}
	covered := 0
	for range 20000 {
		mine, theirs := filter(), filter()
		if len(theirs) == 1 && theirs[0] == "#" {
			continue // that +/# matches no less is not seen, and nobody writes it
		}
		want := true
		for _, topic := range topics {
			if matches(theirs, topic) && !matches(mine, topic) {
				want = false
			}
		}
		got := grant{filter: strings.Join(mine, "/")}.covers(strings.Join(theirs, "/"), "", "")
		if got != want {
			t.Fatalf("grant %q covers %q: %v, want %v", mine, theirs, got, want)
		}
		if got {
			covered++
		}
	}
	if covered < 1000 {
		t.Errorf("only %d of the pairs were covered: the test tells little", covered)
	}
}

func TestLoadNamesAllFaultsAtOnce(t *testing.T) {
	lines := []struct{ text, fault string }{
		{"   read before/all", "read belongs to no account"},
		{"# comment", ""},
		{"pump:" + cheap("x"), ""},
		{"pump:" + cheap("y"), `a second account "pump", the first is on line 3`},
		{"   write a/#/b", "# alone at the end"},
		{"   write a+/b", "+ stands alone"},
		{"   red a/b", "begins with read, write or readwrite"},
		{"   read", "the topic filter is missing"},
		{"   read $share/g/a", "leave out $share"},
		{"   read a/%x/b", "% is followed by u"},
		{"   read a/100%", "% is followed by u"},
		{"", ""},
		{"press:my-secret", "is not a $scram-sha-256$ hash"},
		{"my-other-secret", "neither name:hash nor *"},
		{":" + cheap("x"), "the user name is empty"},
		{"old:$scram-sha-256$i=4095$c2FsdHNhbHQ$aGFzaA$aGFzaA", "i=4096 to i=10000000"},
		{"older:$scram-sha-256$i=5000$c2Fs$aGFzaA$aGFzaA", "the salt of the hash"},
		{"oldest:$scram-sha-256$i=5000$c2FsdHNhbHQ$aGFzaA$aGFzaA", "is not 32 bytes"},
		{"short:" + cheap("x")[:len(cheap("x"))-2], "is not 32 bytes"},
		{"*", ""},
		{"*:", "a second section *, the first is on line 20"},
		{"b\xffd:" + cheap("x"), "not UTF-8"},
		{"tab\tname:" + cheap("x"), "without control characters"},
	}
	var text string
	for _, l := range lines {
		text += l.text + "\r\n"
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil {
		t.Fatal("a file full of faults loads")
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error quotes a password:\n%v", err)
	}
	got := strings.Split(err.Error(), "\n")
	for i, l := range lines {
		if l.fault == "" {
			continue
		}
		if len(got) == 0 {
			t.Fatalf("line %d %q: no fault, want %q", i+1, l.text, l.fault)
		}
		if !strings.HasPrefix(got[0], fmt.Sprintf("%s:%d: ", path, i+1)) || !strings.Contains(got[0], l.fault) {
			t.Errorf("line %d %q:\n got %s\nwant %s", i+1, l.text, got[0], l.fault)
		}
		got = got[1:]
	}
	for _, fault := range got {
		t.Errorf("a fault too many: %s", fault)
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("Load of a file that is not there: %v", err)
	}
}

func TestLoadEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Load(path)
	if err != nil || l.Len() != 0 {
		t.Errorf("an empty file: %d accounts, %v", l.Len(), err)
	}
	if l.key == [32]byte{} {
		t.Error("the key of the remembered passwords is not random")
	}
}

func TestSetPassword(t *testing.T) {
	text := "# mine\npump:old\n  read a\n# why\n*\n  write b"
	text = SetPassword(text, "press:7", "new")
	text = SetPassword(text, "pump", "newer")
	const want = "# mine\npump:newer\n  read a\n# why\n*\n  write b\npress:7:new\n"
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if got := SetPassword("", "a", "h"); got != "a:h\n" {
		t.Errorf("the first account of an empty file: %q", got)
	}
}

func TestRemoveAccount(t *testing.T) {
	const text = "a:h\n read x\n\n# b's\nb:h\n\tread y\n\tread z\nc:h\n"
	for _, c := range []struct {
		user, want string
		ok         bool
	}{
		{"a", "\n# b's\nb:h\n\tread y\n\tread z\nc:h\n", true},
		{"b", "a:h\n read x\n\n# b's\nc:h\n", true},
		{"c", "a:h\n read x\n\n# b's\nb:h\n\tread y\n\tread z\n", true},
		{"d", text, false},
		{" read x", text, false},
	} {
		if got, ok := RemoveAccount(text, c.user); got != c.want || ok != c.ok {
			t.Errorf("without %s: %v\n%s\nwant %v\n%s", c.user, ok, got, c.ok, c.want)
		}
	}
}

func BenchmarkCanPublish(b *testing.B) {
	l, err := parse("users", "pump:"+cheap("x")+"\n write plant/%u/+/pressure\n*\n read $SYS/#\n")
	if err != nil {
		b.Fatal(err)
	}
	topic := []byte("plant/pump/7/pressure")
	b.ReportAllocs()
	for b.Loop() {
		if !l.CanPublish("pump", "id", topic) {
			b.Fatal("not allowed")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	hashed, _ := Hash([]byte("sesame"))
	l, err := parse("users", "pump:"+hashed+"\n")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			l.Verify("nobody", []byte("sesame"))
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			l.Verify("pump", []byte("sesame"))
		}
	})
}
