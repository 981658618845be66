package blackbox_test

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
)

// TestLogHasNoSecrets: gateway and worker, at the level of the most words, are given a secret
// wherever they take one, work with all of them, and meet what goes wrong with each. None of them
// stands in anything that they say.
func TestLogHasNoSecrets(t *testing.T) {
	if os.Getenv("HARK_TEST_BACKENDS") == "shared" {
		t.Skip("it has servers of its own")
	}
	t.Parallel()
	secrets := make(map[string]string)
	secret := func(name string) string {
		secrets[name] = "s3cr3t-" + strings.ToLower(rand.Text())
		return secrets[name]
	}
	redis := servertest.Redis(t, "--requirepass", secret("the password of Redis"))
	rabbit := shared.RabbitMQ(t)
	for _, args := range [][]string{
		{"add_user", "teller", secret("the password of RabbitMQ")},
		{"set_permissions", "teller", ".*", ".*", ".*"},
	} {
		if _, err := rabbit.Ctl(args...); err != nil {
			t.Fatal(err)
		}
	}
	folder := t.TempDir()
	keys := filepath.Join(folder, "keys.yaml")
	alice, admin := secret("a key"), secret("the key of an admin")
	writeKeys(t, keys, keyEntry("alice", "client", alice)+keyEntry("root", "admin", admin))
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing)
	secrets["what seals secrets of webhooks"] = base64.StdEncoding.EncodeToString(sealing)
	secrets["what signs tokens"] = jwtSecret
	secret("the query of the configuration's URL")
	settings := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("retention: 1h\n"))
	}))
	t.Cleanup(settings.Close)

	servers := []string{
		"--redis=redis://:" + secrets["the password of Redis"] + "@" + redis.Addr + "/0",
		"--amqp=amqp://teller:" + secrets["the password of RabbitMQ"] + "@" + rabbit.Addr + "/",
		"--prefix=t" + strings.ToLower(rand.Text()[:10]), "--log-level=debug", "--drain=200ms",
	}
	path, worker := programs(t)
	gateway := exec.Command(path, append(servers,
		"--listen=127.0.0.1:0", "--samples=false", "--routes=sleep,mail", "--keys="+keys, "--jwt-secret="+jwtSecret, "--webhook-key="+secrets["what seals secrets of webhooks"],
		"--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8", "--config="+settings.URL+"/hark.yaml?token="+secrets["the query of the configuration's URL"],
		"--traces=http://127.0.0.1:1")...)
	gateway.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20"+secret("the key of the collector"))
	said := []*record{recorded(t, gateway)}
	said[0].until("Hark listens on")
	s := newServer(t, regexp.MustCompile(`http://[0-9.:]+`).FindString(said[0].String()))
	work := exec.Command(worker, append(servers, "--routes=sleep,mail",
		"--mail-server=smtps://teller:"+secret("the password of the mail server")+"@127.0.0.1:1", "--mail-from=Hark <hark@example.org>", "--mail-domains=example.org")...)
	said = append(said, recorded(t, work))
	said[1].until("worker: working on")

	// What goes well.
	me := s.as(alice)
	to := newReceiver(t, nil)
	hook := me.call("POST", "/v1/webhooks", map[string]any{"url": to.url + "?token=" + secret("the query of a webhook's URL"), "events": []string{"request.accepted", "request.started", "request.succeeded"}}).want(201).json()
	secrets["the secret of a webhook"] = strings.TrimPrefix(hook["secret"].(string), "whsec_")
	dead := me.call("POST", "/v1/webhooks", map[string]any{"url": "http://127.0.0.1:1/?token=" + secret("the query of a dead webhook's URL"), "events": []string{"request.accepted", "request.started", "request.succeeded"}}).want(201).json()
	secrets["the secret of a dead webhook"] = strings.TrimPrefix(dead["secret"].(string), "whsec_")
	submit := func(body map[string]any) map[string]any {
		t.Helper()
		return me.call("POST", "/v1/requests?ticket=true", body, async).want(202).json()
	}
	ticket := func(of map[string]any, name string) string {
		t.Helper()
		u, err := url.Parse(links(of)["events"])
		if err != nil || u.Query().Get("ticket") == "" {
			t.Fatal(of, err)
		}
		secrets[name] = u.Query().Get("ticket")
		return links(of)["events"]
	}
	first := submit(map[string]any{
		"id": "first", "route": "sleep", "content": map[string]any{"steps": 2, "duration": "1ms", "result": secret("a result")},
		"callbackUrl": "http://127.0.0.1:1/?token=" + secret("the query of a request's URL"),
	})
	if got := s.stream(ticket(first, "a ticket")).rest(); len(got) < 3 {
		t.Errorf("with a ticket: %v", got)
	}
	bearer := token(t, "bob", time.Now().Add(time.Hour), "client")
	secrets["a token"] = bearer
	s.as(bearer).call("GET", "/v1/requests", nil).want(200)
	submit(map[string]any{
		"id": "mail", "route": "mail", "maxAttempts": 1,
		"content": map[string]any{"to": "ann@example.org", "subject": secret("a subject"), "text": secret("a text")},
	})
	me.eventually(func() bool { return me.call("GET", "/v1/requests/mail", nil).want(200).json()["status"] == "failed" })
	me.eventually(func() bool { return len(to.all()) >= 3 })
	me.eventually(func() bool {
		return strings.Contains(string(me.call("GET", "/v1/webhooks/"+dead["id"].(string)+"/deliveries", nil).want(200).body), `"attempts":1`)
	})

	// What does not.
	s.as(secret("a key that is none")).call("GET", "/v1/requests", nil).want(401)
	s.call("GET", "/v1/requests/first/events?ticket="+secret("a ticket that is none"), nil, "Accept: text/event-stream").want(401)
	s.call("GET", "/v1/requests?token="+secret("a key where none is taken"), nil)
	unsigned := bearer[:strings.LastIndexByte(bearer, '.')+1] + secret("a signature")
	s.as(unsigned).call("GET", "/v1/requests", nil).want(401)
	// An entry without what it is of, so that the file is refused; then without the second key.
	writeKeys(t, keys, keyEntry("alice", "client", alice)+"- {key: "+secret("a key of no entry")+"}\n")
	said[0].until("keys.yaml")
	writeKeys(t, keys, keyEntry("alice", "client", alice))
	s.eventually(func() bool { return s.as(admin).call("GET", "/v1/requests", nil).status == 401 })
	redis.Stop()
	me.eventually(func() bool {
		return me.call("POST", "/v1/requests", `{"route":"sleep","content":1}`, async).status == 503
	})
	said[0].until(`"level":"ERROR"`)
	redis.Restart()
	me.eventually(func() bool { return s.call("GET", "/health/ready", nil).status == 200 })
	me.eventually(func() bool {
		return me.call("POST", "/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":"1ms"}}`, async).status == 202
	})

	// Passwords that are wrong, and servers that are not there.
	start := func(until string, args ...string) {
		t.Helper()
		cmd := exec.Command(path, append([]string{"--listen=127.0.0.1:0", "--log-level=debug"}, args...)...)
		r := recorded(t, cmd)
		r.until(until)
		said = append(said, r)
	}
	start("WRONGPASS", "--redis=redis://teller:"+secret("a wrong password of Redis")+"@"+redis.Addr+"/0", servers[1])
	start("amqp", servers[0], "--amqp=amqp://teller:"+secret("a wrong password of RabbitMQ")+"@"+rabbit.Addr+"/")
	start("waiting for a server", "--redis=redis://:"+secret("the password of a Redis that is away")+"@127.0.0.1:1/0", servers[1])
	start("jwt-secret", "--data="+folder, "--jwt-secret="+secret("a secret")[:20])
	start("redis", "--redis=redis://:"+secret("a password in a URL that is none")+"@:x:y/0", servers[1])

	for _, program := range []*exec.Cmd{gateway, work} {
		if err := program.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = program.Wait()
	}
	// They have said what there is to say: which server was lost, at both levels.
	for _, r := range said[:2] {
		if line := r.line(redis.Addr); line == "" || !strings.Contains(r.String(), `"level":"DEBUG"`) {
			t.Errorf("nothing of Redis, or nothing at the level debug: %s", r)
		}
	}
	secrets["a secret"] = secrets["a secret"][:20]
	for name, text := range secrets {
		for _, form := range []string{text, url.QueryEscape(text), url.PathEscape(text), base64.StdEncoding.EncodeToString([]byte(text))} {
			for _, r := range said {
				if line := r.line(form); line != "" {
					t.Errorf("%s stands in the log: %s", name, line)
				}
			}
		}
	}
}
