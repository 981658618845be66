package blackbox_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// firstOf returns the first work of a call that has to get some.
func (s *server) firstOf(who string) leased {
	s.t.Helper()
	var answer struct{ Work []leased }
	a := s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":"30s","lease":"1h",`+who+`}`).want(200)
	if err := json.Unmarshal(a.body, &answer); err != nil || len(answer.Work) != 1 {
		s.t.Fatalf("%v: %s", err, a.body)
	}
	return answer.Work[0]
}

// TestWorkerStartedAgain: a worker gets back what it had when it was started again, at once and as
// if nothing had been tried, and whatever is left of it before is fenced off.
func TestWorkerStartedAgain(t *testing.T) {
	s := start(t, "--samples=false")
	id, other := s.submit("default", 1), s.submit("default", 2)
	const before, after = `"worker":"resizer-1","session":"a"`, `"worker":"resizer-1","session":"b"`
	had := map[string]leased{}
	for range 2 { // calls of one session stand beside each other
		w := s.firstOf(before)
		had[w.ID] = w
	}
	if had[id].Attempt != 1 || had[other].Attempt != 1 {
		t.Fatalf("%v", had)
	}
	ours := s.submit("default", 3)
	another := s.firstOf(`"worker":"resizer-2","session":"a"`)

	began := time.Now()
	again := s.firstOf(after)
	t.Logf("the first was started again %v after the call", time.Since(began))
	for range 2 {
		if was := had[again.ID]; was.Attempt != 1 || again.Attempt != 2 {
			t.Errorf("it gets %+v", again)
		}
		if doc := s.call("GET", "/v1/requests/"+again.ID, nil).want(200).json(); doc["error"] != nil {
			t.Errorf("it failed: %v", doc)
		}
		s.call("PUT", had[again.ID].path("result"), "1").problem(409, "attempt-superseded")
		s.call("PUT", again.path("result"), "2").want(200)
		delete(had, again.ID)
		if len(had) > 0 {
			again = s.firstOf(after)
		}
	}
	s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":0,`+before+`}`).problem(409, "worker-superseded")
	if another.ID != ours {
		t.Errorf("another worker got %+v", another)
	}
	s.call("PUT", another.path("result"), "3").want(200)
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_taken_over_total"); n != 2 || s.metric("hark_leases_expired_total") != 0 {
		t.Errorf("%d were taken over", n)
	}
}

// TestWorkerWithoutSessions: each call of a worker that tells no session is a session by itself.
func TestWorkerWithoutSessions(t *testing.T) {
	s := start(t, "--samples=false")
	id := s.submit("default", 1)
	w := s.firstOf(`"worker":"w"`)
	if again := s.firstOf(`"worker":"w"`); again.ID != id || again.Attempt != 2 {
		t.Errorf("%+v", again)
	} else {
		s.call("PUT", w.path("result"), "1").problem(409, "attempt-superseded")
		s.call("PUT", again.path("result"), "1").want(200)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if a, err := s.try("POST", "/v1/work/lease", `{"routes":["default"],"wait":"30s","worker":"w"}`); err != nil || a.status != 409 {
			t.Errorf("the call before was answered with %d, %v: %s", a.status, err, a.body)
		}
	})
	s.eventually(func() bool { return s.metric("hark_lease_calls") == 1 })
	s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":0,"worker":"w"}`).want(200)
	waiting.Wait()
}

// TestWorkersOfOthers: nobody gets what somebody else's worker has by its name.
func TestWorkersOfOthers(t *testing.T) {
	const secondKey = "hark_second_0123456789"
	s, file := startKeyed(t, "--samples=false")
	writeKeys(t, file, allKeys+keyEntry("second", "processor", secondKey))
	alice, one, two := s.as(aliceKey), s.as(workerKey), s.as(secondKey)
	alice.submit("default", 1)
	w := one.firstOf(`"worker":"w","session":"a"`)
	two.eventually(func() bool {
		return two.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":0}`).status == 200
	})
	if a := two.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":1,"worker":"w","session":"b"}`).want(200); string(a.body) != "{\"work\":[]}\n" {
		t.Errorf("somebody else gets %s", a.body)
	}
	one.call("POST", w.path("progress"), nil).want(200)
	one.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":0,"worker":"w","session":"a"}`).want(200)
	one.call("PUT", w.path("result"), "1").want(200)
}

// TestWorkerOnManyNodes: a worker that comes back at another gateway gets what it had by the first.
func TestWorkerOnManyNodes(t *testing.T) {
	servers := startServers(t)
	args := servers.args(servers.rabbit.Addr, "--samples=false", "--requeue=1m")
	holder, other := start(t, args...), start(t, args...)
	id := other.submit("default", 1)
	w := holder.firstOf(`"worker":"w","session":"a"`)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if a, err := holder.try("POST", "/v1/work/lease", `{"routes":["default"],"wait":"30s","worker":"w","session":"a"}`); err != nil || a.status != 409 {
			t.Errorf("what the session before waited for was answered with %d, %v: %s", a.status, err, a.body)
		}
	})
	holder.eventually(func() bool { return holder.metric("hark_lease_calls") == 1 })
	began := time.Now()
	again := other.firstOf(`"worker":"w","session":"b"`)
	t.Logf("started again %v after the call", time.Since(began))
	if again.ID != id || again.Attempt != 2 {
		t.Errorf("%+v", again)
	}
	waiting.Wait()
	for _, s := range []*server{holder, other} {
		s.call("PUT", w.path("result"), "1").problem(409, "attempt-superseded")
		s.call("POST", "/v1/work/lease", `{"routes":["default"],"wait":0,"worker":"w","session":"a"}`).problem(409, "worker-superseded")
	}
	holder.call("PUT", again.path("result"), "2").want(200)
	for _, s := range []*server{holder, other} {
		s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	}
}

// workerURL names a gateway for which the test binary is a worker, as [TestWorkerKilled] starts it.
const workerURL = "HARK_TEST_WORKER_OF"

// TestWorkerKilled: a worker that is killed and started again gets its work at once, again and
// again, and no attempt is lost by that.
func TestWorkerKilled(t *testing.T) {
	if url := os.Getenv(workerURL); url != "" {
		work(t, url)
		return
	}
	const kills, most = 3, 4
	s := start(t, "--samples=false")
	id := s.call("POST", "/v1/requests", fmt.Sprintf(`{"content":1,"route":"default","maxAttempts":%d}`, most), async).want(202).json()["id"].(string)
	for n := 1; ; n++ {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWorkerKilled$", "-test.v=false")
		cmd.Env, cmd.Stderr = append(os.Environ(), workerURL+"="+s.url), os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadBytes('\n')
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		var got struct {
			leased
			Took string
		}
		if err != nil || json.Unmarshal(line, &got) != nil || got.ID != id || got.Attempt != n {
			t.Fatalf("start %d: %v %s", n, err, line)
		}
		t.Logf("start %d came %s after the call", n, got.Took)
		if n > kills {
			s.call("PUT", got.path("result"), "1").want(200)
			break
		}
	}
	if doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json(); doc["status"] != "succeeded" || doc["error"] != nil {
		t.Errorf("%v", doc)
	}
	s.eventually(func() bool { return s.metric("hark_leases") == 0 })
	if n := s.metric("hark_leases_expired_total"); n != 0 {
		t.Errorf("%d leases ran out", n)
	}
}

// work takes one piece of work, tells of it on standard output, and works on it until it is killed.
func work(t *testing.T, url string) {
	began := time.Now()
	res, err := http.Post(url+"/v1/work/lease", "application/json", strings.NewReader(
		`{"routes":["default"],"wait":"30s","lease":"1h","worker":"killed","session":"`+rand.Text()+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct{ Work []map[string]any }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || len(answer.Work) != 1 {
		t.Fatalf("%d %v %v", res.StatusCode, err, answer)
	}
	answer.Work[0]["took"] = time.Since(began).String()
	if err := json.NewEncoder(os.Stdout).Encode(answer.Work[0]); err != nil {
		t.Fatal(err)
	}
	<-t.Context().Done() // nobody ends it
}
