package blackbox_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/hark-push/hark/docs"
	"github.com/hark-push/hark/servertest"
)

// runElsewhere are the blocks for a shell that a test of something else runs, or a verb that is all
// tests: by the document and how they begin, and which file it is that does it.
var runElsewhere = map[string]string{
	"README.md: make test\n":                    ".ci/run",
	"docs/many-nodes.md: MANAGEMENT_PORT=15672": "deploy/cluster_test.go",
	"docs/many-nodes.md: . cluster/secrets\n":   "deploy/cluster_test.go",
	"docs/generators.md: go get -tool":          "clienttest/generated/generators.mjs",
	"docs/generators.md: curl -s http":          "clienttest/generated/generators.mjs",
	"docs/generators.md: npm ":                  "clienttest/generated/generators.mjs",
	"docs/generators.md: npx ":                  "clienttest/generated/generators.mjs",
	"docs/generators.md: go run ":               "clienttest/generated/generators.mjs",
}

// TestDocuments runs what README.md and the documents of docs/ show for a shell, block after block,
// as it stands there but for addresses: every call has to be answered with 2xx or 3xx, every
// command has to end with 0, and what is shown as printed has to be. A block that is one gateway or
// worker goes on while those behind it run, as in another shell; a document without one finds a
// gateway that runs already.
func TestDocuments(t *testing.T) {
	if onServers() {
		t.Skip("each document says what it runs on")
	}
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("HARK_REQUIRE_SERVERS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	gateway, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workerBinary(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Dir(gateway), "../../examples/queue").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The program is called hark where it is installed.
	if err := os.Symlink(gateway, filepath.Join(filepath.Dir(gateway), "hark")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	checkElsewhere(t)
	for _, path := range docs.Guides(t) {
		t.Run(strings.ReplaceAll(path, "/", "-"), func(t *testing.T) {
			reader := &reader{t: t, bin: filepath.Dir(gateway), prefix: "t" + rand.Text()[:10]}
			var printed, below string
			for _, block := range docs.Blocks(docs.Read(t, path)) {
				switch {
				case block.Language == "sh":
					printed = ""
					if elsewhere(path, block) != "" {
						continue
					}
					reader.open()
					below = block.Heading
					printed = reader.run(fmt.Sprintf("%s:%d", path, block.Line), block.Text)
				case block.Language == "" && printed != "" && block.Heading == below:
					for _, line := range missing(printed, block.Text) {
						t.Errorf("%s:%d: %q is not among\n%s", path, block.Line, line, printed)
					}
				case block.Name != "" && reader.dir != "":
					reader.write(block.Name, []byte(block.Text))
				}
			}
		})
	}
}

// elsewhere returns how [runElsewhere] names a block, "" if it is run here.
func elsewhere(path string, block docs.Block) string {
	for begin := range runElsewhere {
		if strings.HasPrefix(path+": "+block.Text, begin) {
			return begin
		}
	}
	return ""
}

// checkElsewhere: the blocks that are left to others are there, and so are the others.
func checkElsewhere(t *testing.T) {
	found := make(map[string]bool)
	for _, path := range docs.Guides(t) {
		for _, block := range docs.Blocks(docs.Read(t, path)) {
			if block.Language == "sh" {
				found[elsewhere(path, block)] = true
			}
		}
	}
	for begin, by := range runElsewhere {
		docs.Read(t, by)
		if !found[begin] {
			t.Errorf("there is no block %q any more", begin)
		}
	}
}

// missing returns those lines of what is shown that were not printed, in this order. An ellipsis
// stands for anything, and the ten characters of a life for those of another one.
func missing(printed, shown string) (lines []string) {
	life := regexp.MustCompile(`"life":"(\w{10})"`).FindStringSubmatch(shown)
	for line := range strings.Lines(shown) {
		line = strings.TrimSpace(line)
		expression := strings.ReplaceAll(regexp.QuoteMeta(line), " … ", ".*")
		expression = strings.ReplaceAll(strings.TrimSuffix(expression, " …"), "…", ".*")
		if life != nil {
			expression = strings.ReplaceAll(expression, life[1], `\w{10}`)
		}
		at := regexp.MustCompile(`(?m)^` + expression).FindStringIndex(printed)
		if at == nil {
			lines = append(lines, line)
			continue
		}
		printed = printed[at[1]:]
	}
	return lines
}

func TestMissing(t *testing.T) {
	const printed = `{"id":"a","life":"aaaaaaaaaa","status":"pending"}` +
		"\nx: a/aaaaaaaaaa/1, 7, z\r\ny\n"
	for shown, want := range map[string]int{
		`{"id":"a","life":"bbbbbbbbbb", …` + "\nx: a/bbbbbbbbbb/1, … z\ny\n": 0,
		"y\n{\n":              1,
		"y: nothing\nanother": 2,
	} {
		if got := missing(printed, shown); len(got) != want {
			t.Errorf("%q: %q", shown, got)
		}
	}
}

// reader is somebody who does what a document shows, in a folder of their own.
type reader struct {
	t      *testing.T
	bin    string // folder of the programs that are built
	prefix string // of keys and queues

	dir     string // "" until it is opened
	url     string // of the gateway that runs, "" if none does
	stop    func() // ends that
	replace []string
}

// open makes the folder, and what the documents take to be there.
func (r *reader) open() {
	if r.dir != "" {
		return
	}
	r.dir = r.t.TempDir()
	r.stop = func() {}
	r.t.Cleanup(func() { r.stop() })
	if err := os.Mkdir(filepath.Join(r.dir, "path"), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Symlink(r.bin, filepath.Join(r.dir, "bin")); err != nil {
		r.t.Fatal(err)
	}
	// `go run ./gateway` is what was built of it, and so is the example.
	r.write("path/go", fmt.Appendf(nil, `#!/bin/sh
case "$1 $2" in
"run ./gateway" | "run ./examples/queue") program=%s/${2##*/} ;;
*) exit 9 ;;
esac
shift 2
exec "$program" "$@"
`, r.bin))
	if err := os.Chmod(filepath.Join(r.dir, "path/go"), 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.write(".curlrc", []byte("fail-with-body\nshow-error\nno-progress-meter\nmax-time = 60\n"))

	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 800, 600)), nil); err != nil {
		r.t.Fatal(err)
	}
	r.write("photo.jpg", photo.Bytes())
	r.write("jwt-secret", []byte(rand.Text()+rand.Text()))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))

	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"keys":[]}`)
	}))
	r.t.Cleanup(keys.Close)
	r.replace = []string{
		"https://id.example/jwks.json", keys.URL, "https://example.org", newReceiver(r.t, nil).url,
		"smtp://127.0.0.1:25", "smtp://" + newMailbox(r.t),
	}
}

// newMailbox starts a server that takes every mail and keeps none, and returns where it listens.
func newMailbox(t *testing.T) (address string) {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return mailbox{}, nil }))
	server.Domain, server.ErrorLog = "mail.example.org", log.New(t.Output(), "", 0)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close() // which the server does not know yet if it was closed before it served
		<-served
	})
	return listener.Addr().String()
}

type mailbox struct{}

func (mailbox) Reset()                               {}
func (mailbox) Logout() error                        { return nil }
func (mailbox) Mail(string, *smtp.MailOptions) error { return nil }
func (mailbox) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (mailbox) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (r *reader) write(name string, text []byte) {
	if err := os.WriteFile(filepath.Join(r.dir, name), text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

var (
	serves = regexp.MustCompile(`^(\w+=("[^"]*"|\S*) +)*` +
		`(go run \./gateway|go run \./examples/queue|bin/gateway|bin/worker)( +--.*)?\n$`)
	prints = regexp.MustCompile(`--(help|new-key|declare)\b`)
)

// run does what a block shows, and returns what was printed.
func (r *reader) run(name, block string) string {
	r.t.Helper()
	for shown, open := range map[string]func() string{
		"redis://127.0.0.1:6379/0":           func() string { return servertest.Redis(r.t).URL },
		"amqp://guest:guest@127.0.0.1:5672/": func() string { return shared.RabbitMQ(r.t).URL },
	} {
		if strings.Contains(block, shown) && !slices.Contains(r.replace, shown) {
			r.replace = append(r.replace, shown, open())
		}
	}
	if serves.MatchString(block) && !prints.MatchString(block) {
		return r.serve(block)
	}
	if strings.Contains(block, "http://127.0.0.1:8080") && r.url == "" {
		r.serve("go run ./gateway\n")
	}
	if strings.Contains(block, "./gateway store ") {
		r.stored()
	}
	cmd := r.command(calls+block, "HARK_URL="+r.url)
	cmd.Args[0] = name
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s\n%s", name, err, block, out)
	}
	return string(out)
}

// command is a script of the documents.
func (r *reader) command(script string, environment ...string) *exec.Cmd {
	replace := append([]string{"http://127.0.0.1:8080", r.url}, r.replace...)
	script = strings.NewReplacer(replace...).Replace(script)
	cmd := exec.CommandContext(r.t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = r.dir
	path := filepath.Join(r.dir, "path") + string(filepath.ListSeparator) + os.Getenv("PATH")
	cmd.Env = append([]string{
		"PATH=" + path, "HOME=" + r.dir, "CURL_HOME=" + r.dir, "HARK_PREFIX=" + r.prefix,
	}, environment...)
	return cmd
}

// serve starts what a block is, which goes on: a gateway, in the place of the one before, or a
// worker or an example beside it.
func (r *reader) serve(block string) string {
	r.t.Helper()
	example := strings.Contains(block, "./examples/")
	worker := example || strings.Contains(block, "bin/worker")
	said, environment := "worker: working on ", []string{"HARK_DRAIN=200ms"}
	switch {
	case example:
		said = "queue: consuming "
	case !worker:
		r.stop()
		said = "Hark listens on http://"
		environment = append(environment, "HARK_LISTEN=127.0.0.1:0",
			"HARK_WEBHOOK_ALLOW_CIDRS=127.0.0.0/8", "HARK_WEBHOOK_ALLOW_HTTP=true")
	}
	cmd := r.command("exec env "+block, environment...)
	// Asked to end, not killed, by whom the test's context ends as well.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	record := recorded(r.t, cmd)
	end := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	record.until(said)
	if worker {
		before := r.stop
		r.stop = func() { end(); before() }
	} else {
		_, address, _ := strings.Cut(record.line(said), said)
		r.url = "http://" + strings.TrimSpace(address)
		r.stop = func() { end(); r.url, r.stop = "", func() {} }
	}
	return record.String()
}

// stored leaves the store of a gateway that has ended.
func (r *reader) stored() {
	if _, err := os.Stat(filepath.Join(r.dir, "data")); err != nil {
		r.serve("go run ./gateway\n")
		r.run("a store", "curl http://127.0.0.1:8080/v1/requests "+
			`-H 'Content-Type: application/json' -d '{"route":"sleep","content":{"steps":1,"duration":"1ms"}}'`+"\n")
	}
	r.stop()
}

// calls has curl do what whoever reads does: fill in the id that an answer has told where the
// documents have an ellipsis, stop to follow a feed, which has no end, when an event has come, and
// wait until a delivery that is to be sent again has been made. A call whose status is shown may be
// answered with any.
const calls = `
told() { grep -o "\"id\":\"$1[^\"]*\"" answers | tail -n 1 | cut -d '"' -f 4; }
curl() {
	local args=("$@") all="$*"
	case $all in *ep_…*) args=("${args[@]//ep_…/$(told ep_)}") ;; esac
	case $all in *'%{http_code}'*) args+=(--no-fail-with-body) ;; esac
	case $all in *deliveries/…*) args=("${args[@]//deliveries\/…/deliveries\/$(told "")}") ;; esac
	case $all in
	*/v1/events\ * | */topics/*/events\ *)
		exec 3< <(exec env curl "${args[@]}")
		local follower=$! line= event=
		while IFS= read -r line <&3; do
			printf '%s\n' "$line"
			case $line in 'data: {"specversion"'*) event=1 ;; '') [ -z "$event" ] || break ;; esac
		done
		kill "$follower"
		exec 3<&-
		[ -n "$event" ]
		;;
	*/resend) env curl --retry 100 --retry-delay 1 --retry-all-errors "${args[@]}" ;;
	*) env curl "${args[@]}" | tee -a answers ;;
	esac
}
`

// TestDocumentedProcessor runs the processors that docs/processors.md shows, as they stand there.
func TestDocumentedProcessor(t *testing.T) {
	anywhere(t)
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on PATH")
	}
	for _, shown := range []struct{ file, heading, language, begin, program, client string }{
		{"processor.mjs", "A processor over HTTP", "js", "const base", node, ""},
		{"shout.py", "In other languages", "python", "import logging", pythonForWorkers(t), "hark_worker.py"},
		{"shout.ts", "In other languages", "ts", "import { Fail", nodeForWorkers(t), "hark-worker.ts"},
	} {
		t.Run(shown.file, func(t *testing.T) {
			if shown.program == "" {
				t.Skip("there is nothing here to run it")
			}
			folder := t.TempDir()
			path := filepath.Join(folder, shown.file)
			script := docs.Find(t, "docs/processors.md", shown.heading, shown.language, shown.begin)
			if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			if shown.client != "" {
				client := docs.Read(t, "processor/clients/"+shown.client)
				if err := os.WriteFile(filepath.Join(folder, shown.client), []byte(client), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := start(t)
			before := s.submit("default", map[string]string{"text": "before"})
			s.beside(t, shown.program, path)
			if a := s.call("POST", "/v1/requests", `{"content":{"text":"hello"}}`).want(200); string(a.body) != `{"text":"HELLO"}` {
				t.Errorf("%s", a.body)
			}
			s.eventually(func() bool { return s.call("GET", "/v1/requests/"+before, nil).json()["status"] == "succeeded" })
			if a := s.call("GET", "/v1/requests/"+before+"/result", nil).want(200); string(a.body) != `{"text":"BEFORE"}` {
				t.Errorf("%s", a.body)
			}
		})
	}
}
