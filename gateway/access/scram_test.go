package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// The example of RFC 7677 section 3: an account made from its password, and the
// exchange with its nonces.
func TestVectorOfRFC7677(t *testing.T) {
	h, err := parseHash("$scram-sha-256$i=4096$W22ZaJ0SNY7soEsUEjb6gQ$" + strings.Repeat("A", 43) + "$" + strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	h.stored, h.server = h.keys([]byte("pencil"))
	l := mustParse(t, "user:"+h.String()+"\n")
	e := l.Exchange(nil)
	server, _ := scram.SHA256.NewServer(e.lookup)
	e.conversation = server.WithNonceGenerator(func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }).NewConversation()
	for _, step := range []struct {
		message, want string
		done          bool
	}{
		{
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", false,
		}, {
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", true,
		},
	} {
		got, done, err := e.Next([]byte(step.message))
		if string(got) != step.want || done != step.done || err != nil {
			t.Fatalf("%s\nis answered by %s, %v, %v\nwant %s, %v", step.message, got, done, err, step.want, step.done)
		}
	}
	if e.User() != "user" {
		t.Errorf("the user is %q", e.User())
	}
}

// prove plays a client of another make against l and returns how that ended for both.
func prove(t *testing.T, l *List, client *scram.Client, only []byte) (e *Exchange, done bool, err error) {
	t.Helper()
	e = l.Exchange(only)
	c := client.NewConversation()
	var answer []byte
	for !done && err == nil {
		message, cerr := c.Step(string(answer))
		if cerr != nil {
			t.Fatalf("the client does not understand %q: %v", answer, cerr)
		}
		answer, done, err = e.Next([]byte(message))
	}
	if done {
		if _, cerr := c.Step(string(answer)); cerr != nil || !c.Valid() {
			t.Fatalf("the client does not believe that this is its server: %v", cerr)
		}
	}
	return e, done, err
}

func client(t *testing.T, user, password, as string) *scram.Client {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, as)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExchange(t *testing.T) {
	l := mustParse(t, "ali:"+cheap("sesame")+"\nkasim:"+cheap("gold")+"\na=b,c:"+cheap("x")+"\njörg:"+cheap("y")+"\n")
	for _, c := range []struct {
		user, password, as string
		only               []byte
		want               error
	}{
		{"ali", "sesame", "", nil, nil},
		{"ali", "sesame", "ali", nil, nil},
		{"ali", "sesame", "", []byte("ali"), nil},
		{"a=b,c", "x", "a=b,c", []byte("a=b,c"), nil},
		{"jo\u0308rg", "y", "", nil, nil}, // the client composes it
		{"ali", "sesam", "", nil, errDenied},
		{"ali", "", "", nil, errDenied},
		{"ali", "gold", "", nil, errDenied},
		{"Ali", "sesame", "", nil, errDenied},
		{"nobody", "sesame", "", nil, errDenied},
		{"*", "", "", nil, errDenied},
		{"", "", "", nil, errDenied},
		{"ali", "sesame", "kasim", nil, errOther},
		{"ali", "sesame", "", []byte("kasim"), errOther},
		{"ali", "sesame", "kasim", []byte("kasim"), errOther},
		{"ali", "sesame", "kasim", []byte("ali"), errOther},
		{"ali", "sesame", "", []byte{}, errOther},
	} {
		e, done, err := prove(t, l, client(t, c.user, c.password, c.as), c.only)
		if err != c.want || done != (c.want == nil) {
			t.Errorf("%+v: %v, %v", c, done, err)
		}
		if want := strings.ReplaceAll(c.user, "o\u0308", "ö"); done && e.User() != want {
			t.Errorf("%+v: is known as %q", c, e.User())
		}
	}
}

// A password works by both ways, however it is written, and over a restart.
func TestPasswordsBeyondASCII(t *testing.T) {
	for _, c := range []struct{ set, given string }{
		{"pässwörd", "pässwörd"},
		{"pässwörd", "pa\u0308sswo\u0308rd"},
		{"pa\u0308sswo\u0308rd", "pässwörd"},
		{"Ⅸ\u00a0x", "IX x"},
		{"パスワード", "ﾊﾟｽﾜｰﾄﾞ"},
		{"سلام", "سلام"},
	} {
		l := mustParse(t, "ali:"+cheap(c.set)+"\n")
		if !l.Verify("ali", []byte(c.given)) {
			t.Errorf("set as %q, %q is not verified", c.set, c.given)
		}
		if _, done, err := prove(t, l, client(t, "ali", c.given, ""), nil); !done {
			t.Errorf("set as %q, %q proves nothing: %v", c.set, c.given, err)
		}
	}
	for _, odd := range []string{"\xff\xfe", "🔑", "a\x07", "سa"} { // SASLprep takes none of them
		l := mustParse(t, "ali:"+cheap(odd)+"\n")
		if !l.Verify("ali", []byte(odd)) || l.Verify("ali", []byte(odd+" ")) {
			t.Errorf("%q is not verified, or another is", odd)
		}
		plain, _ := scram.SHA256.NewClientUnprepped("ali", odd, "")
		if _, done, err := prove(t, l, plain, nil); !done {
			t.Errorf("%q proves nothing: %v", odd, err)
		}
	}
}

func TestMessagesThatAreNone(t *testing.T) {
	l := mustParse(t, "ali:"+cheap("sesame")+"\n")
	for _, first := range []string{
		"x", ",,,", "n,,n=ali", "n,,r=abc,n=ali", "n,n=ali,r=abc,", "n,,m=1,n=ali,r=abc", "n,,n=a=2li,r=abc", "n,b=x,n=ali,r=abc",
		"p=tls-unique,,n=ali,r=abc", "p=x,,n=ali,r=abc", "n,,n=ali,r=" + strings.Repeat("x", maxMessage),
	} {
		e := l.Exchange(nil)
		if answer, done, err := e.Next([]byte(first)); answer != nil || done || err != errMessage {
			t.Errorf("%.40s: %s, %v, %v", first, answer, done, err)
		}
	}
	clients := map[string]*scram.Client{"an account": client(t, "ali", "sesame", ""), "none": client(t, "nobody", "sesame", "")}
	for _, last := range []string{
		"", "x", "c=biws", "c=biws,r=NONCE", "c=biws,r=NONCE,p=", "c=biws,r=NONCE,p=!", "c=biws,r=NONCE,p=AAAA", "c=biws,r=NONCE,p=" + strings.Repeat("A", 43) + "=",
		"c=eSws,r=NONCE,p=PROOF", "c=biws,r=abc,p=PROOF", "c=biws,r=NONCE,x=1,p=PROOF", "n,,n=ali,r=abc",
	} {
		for name, client := range clients {
			e := l.Exchange(nil)
			c := client.NewConversation()
			first, _ := c.Step("")
			answer, _, _ := e.Next([]byte(first))
			final, err := c.Step(string(answer))
			if err != nil {
				t.Fatal(err)
			}
			part := strings.Split(final, ",")
			bad := strings.NewReplacer("NONCE", part[1][2:], "PROOF", part[2][2:]).Replace(last)
			if answer, done, err := e.Next([]byte(bad)); answer != nil || done || !errors.Is(err, errDenied) {
				t.Errorf("%s: %s: %s, %v, %v", name, last, answer, done, err)
			}
			if answer, done, err := e.Next([]byte(final)); answer != nil || done || err == nil {
				t.Errorf("%s: a second try after %s: %s, %v, %v", name, last, answer, done, err)
			}
		}
	}
}

func TestAskedForTheFirstMessageOnce(t *testing.T) {
	l := mustParse(t, "ali:"+cheap("sesame")+"\n")
	e := l.Exchange(nil)
	if answer, done, err := e.Next(nil); answer == nil || len(answer) > 0 || done || err != nil {
		t.Errorf("asked by %q, %v, %v", answer, done, err)
	}
	if answer, done, err := e.Next(nil); answer != nil || done || err != errMessage {
		t.Errorf("asked again by %q, %v, %v", answer, done, err)
	}
}

// What a stranger is told of a user who is not there is as what is told of others: of
// the same form, and the same whenever one asks.
func TestUnknownUsersLookLikeOthers(t *testing.T) {
	known, err := Hash([]byte("sesame"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "users")
	ask := func(text, user string) (shown string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		answer, _, err := l.Exchange(nil).Next([]byte("n,,n=" + user + ",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		nonce, shown, _ := strings.Cut(string(answer), ",")
		if !strings.HasPrefix(nonce, "r=abc") || len(nonce) < 24 {
			t.Errorf("the nonce of %s is %s", user, nonce)
		}
		return shown
	}
	text := "ali:" + known + "\n"
	ali, kasim, morgiana := ask(text, "ali"), ask(text, "kasim"), ask(text, "morgiana")
	if kasim == morgiana || kasim == ali {
		t.Errorf("two users have one salt: %s, %s, %s", ali, kasim, morgiana)
	}
	if len(ali) != len(kasim) || ali[len(ali)-8:] != kasim[len(kasim)-8:] {
		t.Errorf("one sees who is known: %s and %s", ali, kasim)
	}
	if again := ask(text+"cogia:"+cheap("x")+"\n", "kasim"); again != kasim {
		t.Errorf("the salt of an unknown user has changed from %s to %s", kasim, again)
	}
	other, _ := Hash([]byte("sesame"))
	if elsewhere := ask("ali:"+other+"\n", "kasim"); elsewhere == kasim {
		t.Error("everybody can tell the salt of a user whom another gateway does not know")
	}
}

// A decoy is no account even to who knew what makes its keys.
func TestDecoyIsNoAccount(t *testing.T) {
	l := mustParse(t, "ali:"+cheap("sesame")+"\n")
	salt := mac(l.secret, []byte("cogia"))
	d := &l.decoy.hash
	h := hash{iterations: d.iterations, salt: salt[:len(d.salt)]}
	d.stored, d.server = h.keys([]byte("sesame"))
	if _, done, err := prove(t, l, client(t, "cogia", "sesame", ""), nil); done || err != errDenied {
		t.Errorf("the decoy is let in: %v, %v", done, err)
	}
}

// What is in the file does not open the door: neither as a password nor as the
// ClientKey from which a proof is made.
func TestTheFileOpensNothing(t *testing.T) {
	hashed := cheap("sesame")
	l := mustParse(t, "ali:"+hashed+"\n")
	h := l.accounts["ali"].hash
	for _, stolen := range []string{hashed, string(h.stored[:]), string(h.server[:])} {
		if l.Verify("ali", []byte(stolen)) {
			t.Errorf("%q opens as a password", stolen)
		}
	}
}
