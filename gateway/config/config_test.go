package config_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/config"
)

func parse(t *testing.T, args ...string) (config.Config, error) {
	t.Helper()
	var out bytes.Buffer
	return config.Parse(args, &out)
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hark.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	c, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:8080" || c.Data != "./data" || !slices.Equal(c.Routes, []string{"default", "images", "fetch", "sleep"}) || !c.Samples || c.MaxWait != 30*time.Second {
		t.Errorf("%+v", c)
	}
}

// TestPrecedence: a flag beats the environment, which beats the file, which beats
// the default.
func TestPrecedence(t *testing.T) {
	path := file(t, "max-wait: 1s\nretention: 2h\nattempts: 4\nroutes: [a, b]\nsamples: false\n")
	t.Setenv("HARK_RETENTION", "3h")
	t.Setenv("HARK_ATTEMPTS", "5")
	c, err := parse(t, "--config", path, "--attempts=6")
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxWait != time.Second || c.Retention != 3*time.Hour || c.Attempts != 6 || !slices.Equal(c.Routes, []string{"a", "b"}) || c.Samples {
		t.Errorf("%+v", c)
	}
	if c, err = parse(t, "--config", path, "--samples=true"); err != nil || !c.Samples {
		t.Errorf("%v %v", c.Samples, err)
	}
	t.Setenv("HARK_CONFIG", path)
	if c, err = parse(t); err != nil || c.Attempts != 5 || c.MaxWait != time.Second {
		t.Errorf("%+v %v", c, err)
	}
}

// TestPublicURL: as browsers write it in Origin, which it is compared with.
func TestPublicURL(t *testing.T) {
	for given, want := range map[string]string{
		"https://push.example.org/": "https://push.example.org", "HTTPS://push.example.org:443": "https://push.example.org",
		"http://push.example.org:80": "http://push.example.org", "http://push.example.org:443": "http://push.example.org:443",
		"https://[2001:db8::1]:8443": "https://[2001:db8::1]:8443",
	} {
		c, err := parse(t, "--public-url="+given)
		if err != nil || c.PublicURL != want {
			t.Errorf("%s is %q, %v", given, c.PublicURL, err)
		}
	}
}

// TestErrorsSayWhatIsAllowed: each names the key, the value and what is allowed.
func TestErrorsSayWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--listen=8080"}, []string{"listen", `"8080"`, "HOST:PORT"}},
		{[]string{"--listen=0.0.0.0:8080"}, []string{"listen", "0.0.0.0:8080", "loopback", "--insecure"}},
		{[]string{"--listen=:8080"}, []string{"listen", "loopback"}},
		{[]string{"--traces=localhost:4318"}, []string{"traces", "localhost:4318", "http://"}},
		{[]string{"--jwt-secret=too-short"}, []string{"jwt-secret", "32 bytes"}},
		{[]string{"--jwks-url=id.example/keys"}, []string{"jwks-url", "id.example/keys", "https"}},
		{[]string{"--jwt-issuer=x"}, []string{"jwt-issuer", "--jwks-url"}},
		{[]string{"--jwt-roles=a..b"}, []string{"jwt-roles", "a..b", "realm_access.roles"}},
		{[]string{"--ticket-life=0s"}, []string{"ticket-life", "1s"}},
		{[]string{"--routes=a,b c"}, []string{"routes", `"b c"`}},
		{[]string{"--body-budget=1000"}, []string{"body-budget", "1000", "100663296"}},
		{[]string{"--max-body=1048576", "--body-budget=3145727"}, []string{"body-budget", "3145728"}},
		{[]string{"--body-stall=1ms"}, []string{"body-stall", "1ms", "1s"}},
		{[]string{"--max-wait=11m"}, []string{"max-wait", "11m0s", "10m0s"}},
		{[]string{"--timeout=25h"}, []string{"timeout", "25h0m0s", "24h0m0s"}},
		{[]string{"--max-body=1"}, []string{"max-body", `"1"`, "1024"}},
		{[]string{"--origins=app.example"}, []string{"origins", "app.example", "scheme://host"}},
		{[]string{"--public-url=push.example.org"}, []string{"public-url", "push.example.org", "https://push.example.org"}},
		{[]string{"--public-url=https://push.example.org/hark"}, []string{"public-url", "/hark", "/v1"}},
		{[]string{"--public-url=https://me@push.example.org"}, []string{"public-url"}},
		{[]string{"--public-url=https://push.example.org?x"}, []string{"public-url"}},
		{[]string{"--public-url=ftp://push.example.org"}, []string{"public-url"}},
		{[]string{"--public-url=https://push.example.org:99999"}, []string{"public-url", "99999"}},
		{[]string{"--public-url=https://push.example.org:"}, []string{"public-url"}},
		{[]string{"--public-url=https://push.example.org/%2f"}, []string{"public-url", "%2f"}},
		{[]string{"--public-url=https://bücher.example"}, []string{"public-url", "xn--"}},
		{[]string{"--trusted-proxies=10.0.0.1"}, []string{"trusted-proxies", `"10.0.0.1"`, "/32"}},
		{[]string{"--log-level=loud"}, []string{"log-level", "loud", "debug"}},
		{[]string{"--log-level=info,hob=debug"}, []string{"log-level", `"hob" is no package`, "hub"}},
		{[]string{"--log-level=info,hub=debug,hub=info"}, []string{"log-level", `"hub=info" is there twice`}},
		{[]string{"--amqp=amqp://x"}, []string{"redis is not given", "redis://host:6379/0", "RabbitMQ carries the work"}},
		{[]string{"--redis=redis://x", "--callback-exchange=events"}, []string{"callback-exchange", `"events"`, "--amqp"}},
		{[]string{"--redis=redis://x", "--route-queue=images=legacy"}, []string{"route-queue", `"images=legacy"`, "--amqp"}},
		{[]string{"--callback-exchange=events"}, []string{"callback-exchange", `"events"`, "--amqp"}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--callback-exchange=amq.topic"}, []string{"callback-exchange", `"amq.topic"`, "1 to 255 bytes", "amq."}},
		{[]string{"--config", file(t, "callback-exchange: events")}, []string{"callback-exchange", `"events"`, "--amqp"}},
		{[]string{"--id-header=Authorization"}, []string{"id-header", "Authorization", "X-Request-Id"}},
		{[]string{"--id-header=X-Forwarded-For"}, []string{"id-header", "X-Forwarded-For", "X-Request-Id"}},
		{[]string{"--mail-server=smtp://mail.example"}, []string{"mail-from", "--mail-server"}},
		{[]string{"--database-dsn=sqlite:///tmp/records.db"}, []string{"database-dsn", "-tags=database"}},
		{[]string{"--callback-routing=client1"}, []string{"callback-routing", `"client1"`, "--callback-exchange"}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--callback-exchange=events", "--callback-routing={owner}"}, []string{"callback-routing", `"{owner}"`, "{topic}, {route}, {type} and {id}"}},
		{[]string{"--route-queue=images=legacy"}, []string{"route-queue", `"images=legacy"`, "--amqp"}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--route-queue=images"}, []string{"route-queue", `"images"`, "images=legacy.images"}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--route-queue=image=legacy"}, []string{"route-queue", `"image=legacy"`, `did you mean "images"?`}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--route-queue=images=q,images=r"}, []string{"route-queue", `"images=r"`, "each route once"}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--route-queue=images=q,fetch=q"}, []string{"route-queue", `"images=q"`, "fetch has that one"}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--route-queue=images=hark.work.images"}, []string{"route-queue", "does not begin with hark."}},
		{[]string{"--redis=redis://x", "--amqp=amqp://x", "--route-key=images=high"}, []string{"route-key", `"images=high"`, "--route-exchange images=EXCHANGE"}},
		{[]string{"--callback-backlog=1"}, []string{"callback-backlog", `"1"`, "1000"}},
		{[]string{"--route-concurrency=images"}, []string{"route-concurrency", `"images"`, "images=4"}},
		{[]string{"--route-concurrency=images=0"}, []string{"route-concurrency", `"images=0"`, "1 to 1000000"}},
		{[]string{"--key-concurrency=image=2"}, []string{"key-concurrency", `"image=2"`, `did you mean "images"?`}},
		{[]string{"--key-concurrency=images=2,images=3"}, []string{"key-concurrency", `"images=3"`, "each route once"}},
		{[]string{"--max-waiting-per-route=-1"}, []string{"max-waiting-per-route", `"-1"`}},
		{[]string{"--partitions=5"}, []string{"partitions", `"5"`, "--redis"}},
		{[]string{"--jwt-require-exp"}, []string{"jwt-require-exp", "--jwt-secret"}},
		{[]string{"--jwt-roles=groups"}, []string{"jwt-roles", "groups", "--jwt-secret"}},
		{[]string{"--routes=a,,b"}, []string{"routes", `"a,,b"`, "names of"}},
		{[]string{"--config", file(t, "new-key: foo")}, []string{"config", `"new-key" is not allowed`}},
		{[]string{"--config", file(t, "- listen: x")}, []string{"config", "keys with values"}},
		{[]string{"--history=0"}, []string{"history", `"0"`, "1 to 1000000"}},
		{[]string{"--config", file(t, "feed-history: -1")}, []string{"feed-history", `"-1"`, "1 to"}},
		{[]string{"--debug=0.0.0.0:1"}, []string{"debug", "loopback"}},
		{[]string{"--heartbeat=soon"}, []string{"heartbeat", "soon"}},
		{[]string{"--nonsense"}, []string{"nonsense"}},
		{[]string{"--config", "/does/not/exist"}, []string{"config", "/does/not/exist"}},
		{[]string{"--config", file(t, "lisen: x")}, []string{"config", "lisen", `did you mean "listen"?`, "listen, "}},
		{[]string{"--config", file(t, "max_body: 1")}, []string{`did you mean "max-body"?`}},
		{[]string{"--config", file(t, "config: x")}, []string{`"config" is not allowed`}},
		{[]string{"--config", file(t, "a: [")}, []string{"config", "YAML"}},
		{[]string{"--config", file(t, "listen: {a: b}")}, []string{"listen", "plain value"}},
	} {
		_, err := parse(t, c.args...)
		if err == nil {
			t.Errorf("%v was taken", c.args)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %q does not say %q", c.args, err, want)
			}
		}
	}
}

// TestKeyed: whoever asks who calls may listen beyond loopback.
func TestKeyed(t *testing.T) {
	for _, args := range [][]string{
		{"--keys=keys.yaml"}, {"--jwt-secret=" + strings.Repeat("s", 32)}, {"--jwt-keys=public.pem"}, {"--jwks-url=https://id.example/keys"},
	} {
		if c, err := parse(t, append(args, "--listen=:8080")...); err != nil || !c.Keyed() {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestNewKey(t *testing.T) {
	for text, want := range map[string]string{"billing": "[client]", "billing:processor,admin": "[processor, admin]"} {
		c := config.Config{NewKey: text}
		key, entry, err := c.NewKeyEntry()
		if err != nil || !strings.HasPrefix(key, "hark_") || !strings.Contains(entry, "subject: billing\n") || !strings.Contains(entry, want) || strings.Contains(entry, key) {
			t.Errorf("%s: %q %v", text, entry, err)
		}
	}
	for _, text := range []string{":client", "billing:", "billing:clients"} {
		c := config.Config{NewKey: text}
		if _, _, err := c.NewKeyEntry(); err == nil || !strings.Contains(err.Error(), "SUBJECT") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := config.Parse([]string{"--help"}, &out); !errors.Is(err, config.ErrHelp) {
		t.Fatal(err)
	}
	for _, want := range []string{"--listen", "HARK_LISTEN", "--redis", "--config"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not say %s", want)
		}
	}
}
