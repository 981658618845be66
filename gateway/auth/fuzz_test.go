package auth_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle"
)

// FuzzAuthorization: whatever the field says, nobody is let in by it who has no key.
func FuzzAuthorization(f *testing.F) {
	g := guard(f, auth.Options{Keys: file(f, "keys.yaml", "- {subject: alice, roles: [client], key: "+aliceKey+"}")})
	for _, s := range []string{"Bearer " + aliceKey, "bearer  " + aliceKey + " ", "Basic YTpi", "Bearer", "", "Bearer a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		c, err := g.Header(field)
		switch {
		case err == nil && c.Subject != "alice":
			t.Errorf("%q is %+v", field, c)
		case err != nil && !errors.Is(err, auth.ErrUnauthenticated):
			t.Errorf("%q: %v", field, err)
		}
	})
}

// FuzzClaims: of whatever is signed only what has one meaning is taken, and it names a subject that
// may own something.
func FuzzClaims(f *testing.F) {
	g := guard(f, auth.Options{Tokens: auth.TokenOptions{Secret: secret, Roles: "https://example.com/app.roles"}})
	for _, s := range []string{
		`{"sub":"a"}`, `{"sub":"a","exp":0}`, `{"sub":"a","exp":1e300,"nbf":-1}`, `{"sub":"\ud800"}`, `{"sub":"a","sub":"b"}`, `{"sub":"a","https://example.com/app":{"roles":["admin",7]}}`, `[]`, `{"sub":1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		c, err := g.Token(written(payload))
		if err != nil {
			if !errors.Is(err, auth.ErrUnauthenticated) {
				t.Errorf("%q: %v", payload, err)
			}
			return
		}
		if c.Subject == "" || len(c.Subject) > 256 || !utf8.ValidString(c.Subject) || c.Ended() != nil {
			t.Errorf("%q is %+v", payload, c)
		}
	})
}

// FuzzTicketClaims: of whatever is signed with the key of tickets nothing lets in without an end
// and a request.
func FuzzTicketClaims(f *testing.F) {
	g := guard(f, auth.Options{Keys: file(f, "keys.yaml", "- {subject: alice, roles: [client], key: "+aliceKey+"}")})
	for _, s := range []string{`{"sub":"a","req":"r","exp":9999999999}`, `{"sub":"a","req":"r"}`, `{"req":"r","exp":0,"unt":1}`, `{"exp":1e300,"req":"r","key":"x"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		c, err := g.Ticket(signedWith([]byte("the key of tickets, thirty-two b"), payload), nil)
		if err == nil && (c.Request.ID == "" || c.Is(lifecycle.RoleClient) || c.Is(lifecycle.RoleAdmin) || c.Is(lifecycle.RoleProcessor)) {
			t.Errorf("%q is %+v", payload, c)
		}
	})
}

// FuzzPublicKeys: a file of public keys gives keys or an error, and no gateway that is open.
func FuzzPublicKeys(f *testing.F) {
	f.Add([]byte(pemOf(f, signers(f)["ES256"])))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	path := filepath.Join(f.TempDir(), "keys.pem")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if g, err := auth.New(auth.Options{Tokens: auth.TokenOptions{KeyFile: path}}); err == nil && g.Open() {
			t.Errorf("%q leaves the gateway open", text)
		}
	})
}
