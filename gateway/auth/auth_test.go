package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle"
)

func TestMain(m *testing.M) {
	auth.PollOften()
	goleak.VerifyTestMain(m)
}

var secret = []byte("a secret of more than thirty-two bytes")

func guard(t testing.TB, o auth.Options) *auth.Guard {
	t.Helper()
	o.TicketKey = []byte("the key of tickets, thirty-two b")
	g, err := auth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// run keeps a guard up to date until the test ends.
func run(t testing.TB, g *auth.Guard) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, text)
	return path
}

// write replaces a file in one step, as who keeps secrets does.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// refused checks that a token is not taken, and returns why.
func refused(t *testing.T, err error) string {
	t.Helper()
	token, ok := errors.AsType[*auth.TokenError](err)
	if !ok || !errors.Is(err, auth.ErrUnauthenticated) || errors.Is(err, auth.ErrNoToken) {
		t.Errorf("want a token that is not taken, have %v", err)
		return ""
	}
	return token.Detail
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestOpen(t *testing.T) {
	g := guard(t, auth.Options{})
	c, err := g.Header("Basic whatever")
	if !g.Open() || err != nil || c.Subject != auth.Anonymous || !c.Is(lifecycle.RoleClient) || !c.Is(lifecycle.RoleProcessor) || c.Is(lifecycle.RoleAdmin) || c.Credential() != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

const (
	aliceKey = "alice.has.a.key.with.dots" // as a token has, too
	adminKey = "hark_admin-0123456789"
	oldKey   = "hark_old-0123456789abc"
)

func TestKeys(t *testing.T) {
	made, entry, err := auth.NewKey(`bob: the "builder"`, []string{"processor", "client"})
	if err != nil {
		t.Fatal(err)
	}
	path := file(t, "keys.yaml", `
- subject: alice
  roles: [client]
  key: `+aliceKey+`
- {subject: root, roles: [admin], key: `+adminKey+`}
- {subject: old, roles: [client], key: `+oldKey+`, expires: 2020-01-01T00:00:00Z}
`+entry)
	g := guard(t, auth.Options{Keys: path, Tokens: auth.TokenOptions{Secret: secret}})
	if g.Open() {
		t.Error("open with keys")
	}
	for token, want := range map[string]struct {
		subject string
		roles   []lifecycle.Role
	}{
		aliceKey: {"alice", []lifecycle.Role{lifecycle.RoleClient}},
		made:     {`bob: the "builder"`, []lifecycle.Role{lifecycle.RoleProcessor, lifecycle.RoleClient}},
		adminKey: {"root", []lifecycle.Role{lifecycle.RoleAdmin}},
	} {
		for _, header := range []string{"Bearer " + token, "bearer   " + token, "BEARER " + token + " "} {
			c, err := g.Header(header)
			if err != nil || c.Subject != want.subject || !slices.Equal(c.Roles, want.roles) || c.Request.ID != "" || c.Credential() == nil || !c.Credential().Ends().IsZero() {
				t.Errorf("%s: %+v, %v", want.subject, c, err)
			}
		}
		for _, header := range []string{token, "Basic " + token, "Bearer " + token[1:], "Bearer " + token + "x", "Bearer", "Bearer ", "Bearer  "} {
			if _, err := g.Header(header); refused(t, err) == "" {
				t.Errorf("%q", header)
			}
		}
	}
	if _, err := g.Header(""); !errors.Is(err, auth.ErrNoToken) || !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error(err)
	}
	if _, err := g.Token(oldKey); refused(t, err) != "The key has expired." {
		t.Error(err)
	}
	for _, bad := range [][]string{{"", "client"}, {"a\nb", "client"}, {strings.Repeat("x", 257), "client"}, {"a", "clients"}, {"a"}} {
		if _, _, err := auth.NewKey(bad[0], bad[1:]); err == nil {
			t.Errorf("a key of %q", bad)
		}
	}
}

// TestKeyFiles: what is wrong with a file is said, with the entry, and without the key.
func TestKeyFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":           "no key",
		"[]":         "no key",
		"subject: x": "list of keys",
		"- [":        "yaml",
		"- {subjects: x, roles: [client], key: " + aliceKey + "}":                                                        "subjects",
		"- {subject: x, roles: client, key: [" + aliceKey + "]}":                                                         "wrong type",
		"- {subject: x, roles: [client]}":                                                                                "key 1 (\"x\"): either key or sha256",
		"- {subject: x, roles: [client], key: " + aliceKey + ", sha256: 00}":                                             "either key or sha256",
		"- {subject: x, roles: [client], key: short}":                                                                    "20 to 512",
		"- {subject: x, roles: [client], key: a key that has blanks in it}":                                              "20 to 512",
		"- {subject: x, roles: [client], sha256: abc}":                                                                   "64 hexadecimal",
		"- {subject: x, roles: [], key: " + aliceKey + "}":                                                               "roles must name",
		"- {subject: x, roles: [clients], key: " + aliceKey + "}":                                                        "\"clients\"",
		"- {roles: [client], key: " + aliceKey + "}":                                                                     "subject must be",
		"- {subject: x, roles: [client], key: " + aliceKey + "}\n- {subject: y, roles: [client], key: " + aliceKey + "}": "key 2 (\"y\"): the same key",
		"- {subject: x, roles: [client], key: " + aliceKey + ", expires: soon}":                                          "parsing time",
	} {
		_, err := auth.New(auth.Options{Keys: file(t, "keys.yaml", text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		} else if strings.Contains(err.Error(), aliceKey) {
			t.Errorf("the key is in %q", err)
		}
	}
	if _, err := auth.New(auth.Options{Keys: "/does/not/exist"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestKeysChange: a file that has changed is read again. Who is in it as before keeps its
// connections, all others lose them; a file that is wrong changes nothing.
func TestKeysChange(t *testing.T) {
	alice, admin := "- {subject: alice, roles: [client], key: "+aliceKey+"}\n", "- {subject: root, roles: [admin], key: "+adminKey+"}\n"
	path := file(t, "keys.yaml", alice+admin)
	g := guard(t, auth.Options{Keys: path})
	run(t, g)
	a, err1 := g.Token(aliceKey)
	r, err2 := g.Token(adminKey)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	ticket, err := g.NewTicket(r, lifecycle.Named("request-1"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "- nonsense")
	write(t, path, alice+"- {subject: root, roles: [client], key: "+adminKey+"}\n")
	until(t, "the role is another", func() bool {
		c, err := g.Token(adminKey)
		return err == nil && !c.Is(lifecycle.RoleAdmin)
	})
	if r.Credential().Ends().IsZero() {
		t.Error("connections stay that may do more than their key")
	}
	if again, err := g.Token(aliceKey); err != nil || again.Credential() != a.Credential() || !a.Credential().Ends().IsZero() {
		t.Errorf("who stands there as before has lost its pass: %v", err)
	}
	if c, err := g.Ticket(ticket, nil); err != nil || c.Subject != "root" {
		t.Errorf("%+v, %v", c, err)
	}
	write(t, path, alice)
	until(t, "the key is gone", func() bool { _, err := g.Token(adminKey); return err != nil })
	if _, err := g.Ticket(ticket, nil); !strings.Contains(refused(t, err), "revoked") {
		t.Errorf("a ticket of a key that is gone: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Token(aliceKey); err != nil {
		t.Error(err)
	}
}

// signers are a key of each kind.
func signers(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	small, err0 := rsa.GenerateKey(rand.Reader, 1024)
	r, err1 := rsa.GenerateKey(rand.Reader, 2048)
	p256, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err3 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, err4 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err0, err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"small": small, "RS256": r, "PS256": r, "ES256": p256, "ES384": p384, "EdDSA": ed}
}

func pemOf(t testing.TB, keys ...crypto.Signer) string {
	t.Helper()
	var text strings.Builder
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return text.String()
}

func signed(t testing.TB, method string, key any, claims jwt.MapClaims, header ...string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(method), claims)
	for _, h := range header {
		name, value, _ := strings.Cut(h, "=")
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokens(t *testing.T) {
	keys := signers(t)
	public := pemOf(t, keys["RS256"], keys["ES256"], keys["ES384"], keys["EdDSA"])
	g := guard(t, auth.Options{Tokens: auth.TokenOptions{Secret: secret, KeyFile: file(t, "keys.pem", public), Issuer: "https://id.example", Audience: "hark"}})
	now := time.Now()
	claims := func(more ...any) jwt.MapClaims {
		c := jwt.MapClaims{"sub": "alice", "iss": "https://id.example", "aud": []string{"other", "hark"}, "exp": now.Add(time.Hour).Unix()}
		for i := 0; i < len(more); i += 2 {
			if c[more[i].(string)] = more[i+1]; more[i+1] == nil {
				delete(c, more[i].(string))
			}
		}
		return c
	}
	for method, key := range map[string]any{
		"HS256": secret, "HS512": secret, "RS256": keys["RS256"], "RS512": keys["RS256"], "PS256": keys["PS256"],
		"ES256": keys["ES256"], "ES384": keys["ES384"], "EdDSA": keys["EdDSA"],
	} {
		c, err := g.Header("Bearer " + signed(t, method, key, claims()))
		if err != nil || c.Subject != "alice" || !slices.Equal(c.Roles, []lifecycle.Role{lifecycle.RoleClient}) || c.Expires.Unix() != now.Add(time.Hour).Unix() || !c.Credential().Ends().Equal(c.Expires) {
			t.Errorf("%s: %+v, %v", method, c, err)
		}
	}
	if c, err := g.Token(signed(t, "HS256", secret, claims("exp", nil, "nbf", now.Add(10*time.Second).Unix()))); err != nil || !c.Expires.IsZero() || c.Credential() != nil {
		t.Errorf("without an end, of a clock that is a little ahead: %+v, %v", c, err)
	}

	der, _ := x509.MarshalPKIXPublicKey(keys["RS256"].Public())
	good := signed(t, "HS256", secret, claims())
	parts := strings.Split(good, ".")
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, c := range map[string]struct{ token, want string }{
		"none":                       {signed(t, "none", jwt.UnsafeAllowNoneSignatureType, claims()), "not one"},
		"no signature":               {parts[0] + "." + parts[1] + ".", "not one"},
		"a public key as secret":     {signed(t, "HS256", []byte(public), claims()), "not one"},
		"its DER as secret":          {signed(t, "HS256", der, claims()), "not one"},
		"an empty secret":            {signed(t, "HS256", []byte{}, claims()), "not one"},
		"another key":                {signed(t, "ES256", other, claims()), "not one"},
		"another signature":          {parts[0] + "." + parts[1] + "." + strings.Split(signed(t, "HS256", secret, claims("sub", "b")), ".")[2], "not one"},
		"another payload":            {parts[0] + "." + strings.Split(signed(t, "HS256", secret, claims("sub", "b")), ".")[1] + "." + parts[2], "not one"},
		"critical":                   {signed(t, "HS256", secret, claims(), "crit=exp"), "not one"},
		"expired":                    {signed(t, "HS256", secret, claims("exp", now.Add(-time.Minute).Unix())), "expired"},
		"expired within the skew":    {signed(t, "HS256", secret, claims("exp", now.Add(-time.Second).Unix())), "expired"},
		"expiry is a word":           {signed(t, "HS256", secret, claims("exp", "soon")), "malformed"},
		"not yet":                    {signed(t, "HS256", secret, claims("nbf", now.Add(5*time.Minute).Unix())), "not valid yet"},
		"another issuer":             {signed(t, "HS256", secret, claims("iss", "https://evil.example")), "issuer"},
		"no issuer":                  {signed(t, "HS256", secret, claims("iss", nil)), ""},
		"another audience":           {signed(t, "HS256", secret, claims("aud", "other")), "audience"},
		"no audience":                {signed(t, "HS256", secret, claims("aud", nil)), ""},
		"no subject":                 {signed(t, "HS256", secret, claims("sub", nil)), "subject"},
		"an empty subject":           {signed(t, "HS256", secret, claims("sub", "")), "subject"},
		"a subject with a NUL":       {signed(t, "HS256", secret, claims("sub", "a\x00b")), "subject"},
		"a subject that is a number": {signed(t, "HS256", secret, claims("sub", 7)), ""},
		"words":                      {"a.b.c", "malformed"},
		"dots":                       {"..", "malformed"},
		"other base64":               {good[:len(good)-1] + "\n", "not one"},
	} {
		_, err := g.Token(c.token)
		detail := refused(t, err)
		if c.want == "not one" {
			// It does not matter which of both it is.
			detail = strings.Replace(detail, "is malformed", "is not one", 1)
		}
		if !strings.Contains(detail, c.want) {
			t.Errorf("%s: %q, want %q in it", name, detail, c.want)
		}
	}

	for text, want := range map[string]string{
		"":                      "no PEM block",
		pemOf(t, keys["small"]): "2048",
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})): "not a public key",
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}})):  "keys.pem",
	} {
		if _, err := auth.New(auth.Options{Tokens: auth.TokenOptions{KeyFile: file(t, "keys.pem", text)}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

func TestRoles(t *testing.T) {
	for _, c := range []struct {
		claim, claims string
		want          []lifecycle.Role
	}{
		{"", `{}`, []lifecycle.Role{lifecycle.RoleClient}},
		{"", `{"roles":null}`, []lifecycle.Role{lifecycle.RoleClient}},
		{"", `{"roles":["processor","auditor","client","client",7]}`, []lifecycle.Role{lifecycle.RoleProcessor, lifecycle.RoleClient}},
		{"", `{"roles":"admin client"}`, []lifecycle.Role{lifecycle.RoleAdmin, lifecycle.RoleClient}},
		{"", `{"roles":[]}`, nil},
		{"", `{"roles":["Admin"]}`, nil},
		{"", `{"roles":{"admin":true}}`, nil},
		{"realm_access.roles", `{"realm_access":{"roles":["admin"]},"roles":["client"]}`, []lifecycle.Role{lifecycle.RoleAdmin}},
		{"realm_access.roles", `{"realm_access":["roles"]}`, []lifecycle.Role{lifecycle.RoleClient}},
		{"scope", `{"scope":"openid processor"}`, []lifecycle.Role{lifecycle.RoleProcessor}},
	} {
		g := guard(t, auth.Options{Tokens: auth.TokenOptions{Secret: secret, Roles: c.claim}})
		claims := jwt.MapClaims{}
		if err := json.Unmarshal([]byte(c.claims), &claims); err != nil {
			t.Fatal(err)
		}
		claims["sub"] = "a"
		if caller, err := g.Token(signed(t, "HS256", secret, claims)); err != nil || !slices.Equal(caller.Roles, c.want) {
			t.Errorf("%s %s: %v, %v, want %v", c.claim, c.claims, caller.Roles, err, c.want)
		}
	}
}

// issuer serves a set of keys.
type issuer struct {
	url   string
	reads atomic.Int64
	set   atomic.Pointer[string] // nil: it is out of order
}

func newIssuer(t *testing.T) *issuer {
	i := new(issuer)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.reads.Add(1)
		set := i.set.Load()
		if set == nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = fmt.Fprint(w, *set)
	}))
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	i.url = server.URL
	return i
}

// jwk returns a key as it stands in a set.
func jwk(t *testing.T, key any, id string, alg jwkset.ALG) string {
	t.Helper()
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
		Metadata: jwkset.JWKMetadataOptions{KID: id, ALG: alg, USE: jwkset.UseSig}, Marshal: jwkset.JWKMarshalOptions{Private: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(k.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (i *issuer) publish(keys ...string) {
	set := `{"keys":[` + strings.Join(keys, ",") + `]}`
	i.set.Store(&set)
}

// TestJWKS: until the keys were read once nothing can be said of a token; a key that is new is
// found by the token that names it, but not more often than it may be looked for.
func TestJWKS(t *testing.T) {
	keys, i := signers(t), newIssuer(t)
	g := guard(t, auth.Options{Tokens: auth.TokenOptions{JWKS: i.url}})
	claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	token := signed(t, "ES256", keys["ES256"], claims, "kid=one")
	if _, err := g.Token(token); !errors.Is(err, lifecycle.ErrUnavailable) || errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("before the keys were read: %v", err)
	}
	i.publish(
		jwk(t, keys["ES256"].Public(), "one", "ES256"), jwk(t, keys["small"].Public(), "small", ""), jwk(t, secret, "oct", "HS256"),
		jwk(t, keys["RS256"].Public(), "rsa", "RS256"), `{"kty":"??","kid":"unknown"}`,
	)
	run(t, g)
	until(t, "the keys are read", func() bool { _, err := g.Token(token); return err == nil })
	if c, err := g.Token(signed(t, "ES256", keys["ES256"], claims)); err != nil || c.Subject != "alice" {
		t.Errorf("a token that names no key: %v", err)
	}
	for name, token := range map[string]string{
		"a small key":                      signed(t, "RS256", keys["small"], claims, "kid=small"),
		"a secret that is published":       signed(t, "HS256", secret, claims, "kid=oct"),
		"another algorithm than the key's": signed(t, "PS256", keys["RS256"], claims, "kid=rsa"),
		"the name of another key":          signed(t, "ES256", keys["ES256"], claims, "kid=rsa"),
		"a key that is not there":          signed(t, "EdDSA", keys["EdDSA"], claims, "kid=two"),
	} {
		if _, err := g.Token(token); refused(t, err) == "" {
			t.Error(name)
		}
	}
	if n := i.reads.Load(); n > 4 {
		t.Errorf("the keys were read %d times", n)
	}
	i.publish(jwk(t, keys["ES256"].Public(), "one", "ES256"), jwk(t, keys["EdDSA"].Public(), "next", ""))
	if c, err := g.Token(signed(t, "EdDSA", keys["EdDSA"], claims, "kid=next")); err != nil || c.Subject != "alice" {
		t.Errorf("a key that was published right after they were read: %v", err)
	}
	i.set.Store(nil)
	if _, err := g.Token(token); err != nil {
		t.Errorf("who has the keys is out of order: %v", err)
	}
}

func TestTickets(t *testing.T) {
	g := guard(t, auth.Options{Keys: file(t, "keys.yaml", "- {subject: alice, roles: [client], key: "+aliceKey+"}"), Tokens: auth.TokenOptions{Secret: secret}, TicketLife: time.Minute})
	soon := time.Now().Add(10 * time.Second).Truncate(time.Second)
	byKey, err1 := g.Token(aliceKey)
	byToken, err2 := g.Token(signed(t, "HS256", secret, jwt.MapClaims{"sub": "bob", "exp": soon.Unix(), "roles": "admin"}))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for _, c := range []auth.Caller{byKey, byToken} {
		text, err := g.NewTicket(c, lifecycle.Ref{ID: "r-1", Life: "0123456789"})
		if err != nil {
			t.Fatal(err)
		}
		who, err := g.Ticket(text, nil)
		if err != nil || who.Subject != c.Subject || who.Request != (lifecycle.Ref{ID: "r-1", Life: "0123456789"}) || who.Is(lifecycle.RoleClient) || len(who.Roles) > 0 || !who.Expires.Equal(c.Expires) {
			t.Errorf("%+v, %v", who, err)
		}
		if (who.Credential() == c.Credential()) != (c.Subject == "alice") || !who.Credential().Ends().Equal(c.Credential().Ends()) {
			t.Error("the connection outlives its caller's")
		}
		if _, err := g.Token(text); refused(t, err) == "" {
			t.Error("a ticket was taken for a token")
		}
		if _, err := g.NewTicket(who, lifecycle.Ref{ID: "r-2", Life: "0123456789"}); err == nil {
			t.Error("a ticket gave one for another request")
		}
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(text, claims); err != nil {
			t.Fatal(err)
		}
		if exp, _ := claims.GetExpirationTime(); c.Subject == "bob" && !exp.Equal(soon) || time.Until(exp.Time) > time.Minute {
			t.Errorf("the ticket of %s is good until %v", c.Subject, exp)
		}
	}
	old := guard(t, auth.Options{TicketLife: time.Nanosecond})
	expired, _ := old.NewTicket(byToken, lifecycle.Named("r-1"))
	until(t, "it has expired", func() bool {
		_, err := g.Ticket(expired, nil)
		return err != nil && strings.Contains(err.Error(), "expired")
	})
	// With it one may come back to its request, as long as what it rests on holds.
	comesBackTo := func(wanted string) func(string) bool { return func(request string) bool { return request == wanted } }
	if who, err := g.Ticket(expired, comesBackTo("r-1")); err != nil || who.Request.ID != "r-1" || !who.Expires.Equal(soon) {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := g.Ticket(expired, comesBackTo("r-2")); !errors.Is(err, auth.ErrExpired) || refused(t, err) == "" {
		t.Errorf("to go on with another one: %v", err)
	}
	past, _ := old.NewTicket(auth.Caller{Principal: byToken.Principal, Expires: time.Now().Add(-time.Second)}, lifecycle.Named("r-1"))
	if _, err := g.Ticket(past, comesBackTo("r-1")); !errors.Is(err, auth.ErrExpired) || refused(t, err) == "" {
		t.Errorf("it outlives what it rests on: %v", err)
	}
	other, _ := auth.New(auth.Options{TicketKey: []byte("another one, of thirty-two bytes")})
	foreign, _ := other.NewTicket(byToken, lifecycle.Named("r-1"))
	for name, text := range map[string]string{
		"foreign": foreign, "empty": "", "dots": "..", "a token": signed(t, "HS256", secret, jwt.MapClaims{"sub": "a", "req": "r-1", "exp": soon.Unix()}),
		"no end": signed(t, "HS256", []byte("the key of tickets, thirty-two b"), jwt.MapClaims{"sub": "a", "req": "r-1"}),
		"none":   signed(t, "none", jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"sub": "a", "req": "r-1", "exp": soon.Unix()}),
	} {
		if _, err := g.Ticket(text, func(string) bool { return true }); refused(t, err) == "" {
			t.Error(name)
		}
	}
}

// FuzzToken: whatever is sent, only what was signed is taken.
func FuzzToken(f *testing.F) {
	g := guard(f, auth.Options{Tokens: auth.TokenOptions{Secret: secret}})
	good := signed(f, "HS256", secret, jwt.MapClaims{"sub": "alice"})
	for _, s := range []string{good, good + "=", "a.b.c", "..", "Bearer " + good, signed(f, "none", jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"sub": "a"})} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := g.Token(text); err == nil && (text != good || c.Subject != "alice") {
			t.Errorf("%q is %+v", text, c)
		} else if err != nil && !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%q: %v", text, err)
		}
		if c, err := g.Ticket(text, func(string) bool { return true }); err == nil {
			t.Errorf("the ticket %q is %+v", text, c)
		}
	})
}

// FuzzKeys: a file of keys gives keys or an error that does not tell them.
func FuzzKeys(f *testing.F) {
	f.Add("- {subject: alice, roles: [client], key: " + aliceKey + "}")
	f.Add("- subject: [")
	f.Add("- &a {subject: *a}")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "keys.yaml")
		write(t, path, text)
		g, err := auth.New(auth.Options{Keys: path})
		if err == nil && g.Open() {
			t.Errorf("%q leaves the gateway open", text)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	keys := signers(b)
	public := pemOf(b, keys["RS256"], keys["ES256"], keys["EdDSA"])
	g := guard(b, auth.Options{
		Keys:   file(b, "keys.yaml", "- {subject: alice, roles: [client], key: "+aliceKey+"}"),
		Tokens: auth.TokenOptions{Secret: secret, KeyFile: file(b, "keys.pem", public)},
	})
	claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "roles": []string{"client"}}
	for name, token := range map[string]string{
		"key": aliceKey, "HS256": signed(b, "HS256", secret, claims), "RS256": signed(b, "RS256", keys["RS256"], claims),
		"ES256": signed(b, "ES256", keys["ES256"], claims), "EdDSA": signed(b, "EdDSA", keys["EdDSA"], claims),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Token(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
