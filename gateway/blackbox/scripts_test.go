package blackbox_test

import (
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hark-push/hark/servertest"
)

// TestMistakes runs the mistakes of newcomers, each a script: what they type, and what is printed.
// Beside the commands of testscript there are
//
//	starts PROGRAM …   runs it with --listen=127.0.0.1:0 and a folder of data, and goes on when it says where it listens, as $HARK_URL
//	starting …         the same for one that waits for a server first
//	said REGEXP        waits until the last one of these has said it
//	bytes FILE N       makes a file of N bytes
//
// $REDIS and $RABBITMQ are servers that run, nobody listens at $NOWHERE, and somebody else at
// $TAKEN.
func TestMistakes(t *testing.T) {
	if onServers() {
		t.Skip("each script says what it runs on")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("HARK_REQUIRE_SERVERS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	redis, rabbit := servertest.Redis(t), shared.RabbitMQ(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/mistakes",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Deadline:            time.Now().Add(patience), // of a program that should have ended
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(path)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv("REDIS", redis.URL)
			e.Setenv("RABBITMQ", rabbit.Addr)
			e.Setenv("TAKEN", taken.Addr().String())
			e.Setenv("NOWHERE", "127.0.0.1:1") // which is reserved
			e.Setenv("PREFIX", "t"+rand.Text()[:10])
			e.Values[scriptKey{}] = &script{path: e.Getenv("PATH")}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"starts": func(ts *testscript.TestScript, neg bool, args []string) {
				scriptOf(ts).start(ts, neg, args, `Hark listens on http://([0-9.:]+)`)
			},
			"starting": func(ts *testscript.TestScript, neg bool, args []string) {
				scriptOf(ts).start(ts, neg, args, `"msg":"waiting for a server[^\n]*"address":"([0-9.:]+)"`)
			},
			"said": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 || scriptOf(ts).said == nil {
					ts.Fatalf("usage: said REGEXP, after starts")
				}
				scriptOf(ts).wait(ts, args[0])
			},
			"bytes": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 2 {
					ts.Fatalf("usage: bytes FILE N")
				}
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), make([]byte, n), 0o600))
			},
		},
	})
}

// script is what a script has started.
type script struct {
	path string  // $PATH, with the gateway
	n    int     // programs
	said *record // by the last one
}

type scriptKey struct{}

func scriptOf(ts *testscript.TestScript) *script {
	return ts.Value(scriptKey{}).(*script) //nolint:forcetypeassert // Setup has put it there
}

// start starts a program and waits until it says where it listens. It ends with the script.
func (s *script) start(ts *testscript.TestScript, neg bool, args []string, at string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: starts PROGRAM ARGUMENT…")
	}
	s.n++
	program := args[0]
	if program == "gateway" {
		dir, _, _ := strings.Cut(s.path, string(filepath.ListSeparator))
		program = filepath.Join(dir, program)
	}
	cmd := exec.Command(program, append(args[1:len(args):len(args)], "--listen=127.0.0.1:0", "--drain=200ms", "--data="+ts.MkAbs("data"+strconv.Itoa(s.n)))...)
	cmd.Env = []string{"PATH=" + s.path, "HOME=" + ts.MkAbs(".")}
	s.said = &record{more: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = s.said, s.said
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Wait()
	})
	ts.Setenv("HARK_URL", "http://"+s.wait(ts, at)[1])
}

// wait waits until the program has said something, and returns it with its parts.
func (s *script) wait(ts *testscript.TestScript, expression string) []string {
	re, err := regexp.Compile(expression)
	ts.Check(err)
	late := time.After(patience)
	for {
		if found := re.FindStringSubmatch(s.said.String()); found != nil {
			ts.Logf("%s", found[0])
			return found
		}
		select {
		case <-s.said.more:
		case <-late:
			ts.Fatalf("%q was never said:\n%s", expression, s.said)
		}
	}
}
