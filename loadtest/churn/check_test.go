package churn

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// step is an event of a request, some milliseconds after its submission.
type step struct {
	at      int
	kind    string
	attempt int
	code    string
	size    int // of the result, -1: none
}

// say writes an event as the gateway does, as far as the ledger reads it.
func say(of ref, route string, seq int, s step) []byte {
	status := s.kind
	if !terminal(s.kind) {
		status = "processing"
	}
	more := ""
	if s.code != "" {
		more += fmt.Sprintf(`,"error":{"code":%q,"message":"n=1;"}`, s.code)
	}
	if s.size >= 0 && s.kind == succeeded {
		more += fmt.Sprintf(`,"result":{"size":%d}`, s.size)
	}
	stamp := func(ms int) string {
		return epoch.Add(time.Duration(ms) * time.Millisecond).Format("2006-01-02T15:04:05.000Z07:00")
	}
	return fmt.Appendf(nil, `{"id":"%s/%d","source":"/v1/requests/%s","type":"request.%s","data":{"id":%q,"life":%q,"status":%q,"route":%q,"attempt":%d,"sequence":%d,"createdAt":%q,"updatedAt":%q,"expiresAt":%q%s}}`,
		of, seq, of.id, s.kind, of.id, of.life, status, route, s.attempt, seq, stamp(0), stamp(s.at), stamp(60_000), more)
}

// testChurn is a run whose one request has been submitted and accepted.
func testChurn(p plan) (*churn, *submission, ref) {
	c := &churn{began: epoch, ledger: newLedger(epoch), owners: []*caller{{subject: "owner-0"}, {subject: "owner-1"}}}
	p.n, p.id = 1, "a"
	of := ref{"a", "0123456789"}
	s := c.ledger.submit(p)
	c.ledger.accept(s, of, 0)
	return c, s, of
}

// TestCheckFinds: what must not be is found, and what may be is not taken for it.
func TestCheckFinds(t *testing.T) {
	good := plan{name: "leased", route: routeLeased, attempts: 20, want: succeeded, exact: []byte("result")}
	usual := []step{{0, "accepted", 0, "", 0}, {10, "started", 1, "", 0}, {20, "progress", 1, "", 0}, {30, succeeded, 1, "", 6}}
	for name, test := range map[string]struct {
		plan  plan
		steps []step
		do    func(c *churn, s *submission, of ref)
		want  string // "": nothing is wrong
	}{
		"all as asked":                {plan: good, steps: usual},
		"no end":                      {plan: good, steps: usual[:3], want: "has not ended"},
		"another end":                 {plan: good, steps: append(usual[:3:3], step{30, failed, 1, "x", -1}), want: "ended as failed (x), not as succeeded"},
		"ended twice":                 {plan: good, steps: append(usual[:4:4], step{40, canceled, 1, "", -1}), want: "ended twice"},
		"goes on behind the end":      {plan: good, steps: append(usual[:4:4], step{40, "progress", 1, "", -1}), want: "behind its end"},
		"a result of another length":  {plan: good, steps: append(usual[:3:3], step{30, succeeded, 1, "", 7}), want: "7 bytes, not 6"},
		"an attempt left out":         {plan: good, steps: []step{usual[0], {10, "started", 2, "", 0}, {30, succeeded, 2, "", 6}}, want: "started of attempt 2 behind accepted of attempt 0"},
		"superseded within its lease": {plan: good, steps: []step{usual[0], usual[1], {7000, "started", 2, "", 0}, {7100, succeeded, 2, "", 6}}, want: "taken for dead"},
		"superseded behind its lease": {plan: good, steps: []step{usual[0], usual[1], {8011, "started", 2, "", 0}, {8100, succeeded, 2, "", 6}}},
		"silent within its lease":     {plan: good, steps: []step{usual[0], usual[1], {7000, "retrying", 1, "silent", 0}, {7100, "started", 2, "", 0}, {7200, succeeded, 2, "", 6}}, want: "taken for dead"},
		"attempts exhausted":          {plan: good, steps: []step{usual[0], usual[1], {9000, failed, 1, "attempts-exhausted", -1}}, want: "exhausted with healthy workers"},
		"begins too early":            {plan: func() plan { p := good; p.delay = time.Second; return p }(), steps: usual, want: "with a delay of 1s"},
		"expires too early":           {plan: func() plan { p := good; p.want = expired; return p }(), steps: append(usual[:1:1], step{30, expired, 0, "expired", -1}), want: "expired at"},
		"superseded with the SDK":     {plan: good, steps: []step{usual[0], usual[1], {7000, "started", 2, "", 0}, {7100, succeeded, 2, "", 6}}, want: "no process that works there has died", do: func(c *churn, _ *submission, _ ref) { c.Workers, c.Mortal = []*Process{{}}, 0 }},
		"canceled by nobody":          {plan: good, steps: append(usual[:3:3], step{30, canceled, 1, "", -1}), want: "ended as canceled"},
		"canceled as asked":           {plan: good, steps: append(usual[:3:3], step{30, canceled, 1, "", -1}), do: func(_ *churn, s *submission, _ ref) { s.askedToCancel = true }},
		"succeeds although canceled":  {plan: good, steps: usual, want: "answered as canceled: true", do: func(_ *churn, s *submission, _ ref) { s.askedToCancel, s.canceled = true, true }},
		"the call was told another":   {plan: good, steps: usual, want: "was told failed", do: func(_ *churn, s *submission, _ ref) { s.answered = failed }},
		"somebody else's":             {plan: good, steps: usual, want: "which is owner-0's", do: func(c *churn, _ *submission, of ref) { c.see(t, "owner-1", say(of, routeLeased, 2, usual[1])) }},
		"shown otherwise": {plan: good, steps: usual, want: "is not the same", do: func(c *churn, _ *submission, of ref) {
			c.see(t, "owner-0", say(of, routeLeased, 2, step{11, "started", 1, "", 0}))
		}},
		"marks of another":            {plan: good, steps: append(usual[:3:3], step{30, "retrying", 1, "again", 0}, step{40, "started", 2, "", 0}, step{50, succeeded, 2, "", 6}), want: "bears what was said of n=1", do: func(c *churn, s *submission, _ ref) { s.n = 2 }},
		"a request of nobody":         {plan: good, steps: usual, want: "was submitted by nobody", do: func(c *churn, _ *submission, _ ref) { c.life(t, ref{id: "made"}, usual) }},
		"two lives of one submission": {plan: good, steps: usual, want: "there are 2 of it", do: func(c *churn, _ *submission, _ ref) { c.life(t, ref{"a", "9876543210"}, usual) }},
		"handed out twice":            {plan: good, steps: usual, want: "was handed out twice", do: func(c *churn, s *submission, of ref) { c.ledger.hand(s, of, 1); c.ledger.hand(s, of, 1) }},
		"an end at another offset":    {plan: good, steps: usual, want: "was told of the end at 3", do: func(c *churn, _ *submission, of ref) { c.ledger.finished = []finished{{"f", of, 3, nil}} }},
		"left out: progress":          {plan: good, steps: usual, do: func(c *churn, _ *submission, of ref) { c.ledger.finished = []finished{{"f", of, 4, []gap{{of, 3, 3}}}} }},
		"left out: something else":    {plan: good, steps: usual, want: "no superseded progress", do: func(c *churn, _ *submission, of ref) { c.ledger.finished = []finished{{"f", of, 4, []gap{{of, 2, 3}}}} }},
		"an attempt that nobody got":  {plan: good, steps: usual, want: "nobody was handed", do: func(c *churn, s *submission, of ref) { delete(c.ledger.lives[of].handed, 1) }},
		"withdrawn, then taken": {plan: good, steps: usual, do: func(c *churn, s *submission, _ ref) {
			s.unknown = 1
			c.life(t, ref{"a", "9876543210"}, []step{usual[0], {5, canceled, 0, "withdrawn", -1}})
		}},
		"withdrawn although it is 202": {plan: good, steps: []step{usual[0], {5, canceled, 0, "withdrawn", -1}}, want: "there are 0 of it"},
	} {
		t.Run(name, func(t *testing.T) {
			c, s, of := testChurn(test.plan)
			route := routeLeased
			if strings.Contains(name, "SDK") {
				route = "echo"
			}
			for _, step := range test.steps {
				if step.kind == "started" {
					c.ledger.hand(s, of, step.attempt)
				}
			}
			for i, step := range test.steps {
				c.see(t, "owner-0", say(of, route, i+1, step))
			}
			if test.do != nil {
				test.do(c, s, of)
			}
			c.ledger.check(c)
			wrong := strings.Join(c.ledger.wrong, "\n")
			if test.want == "" && wrong != "" || !strings.Contains(wrong, test.want) {
				t.Errorf("found %q, not %q", wrong, test.want)
			}
		})
	}
}

func (c *churn) see(t *testing.T, owner string, event []byte) {
	t.Helper()
	if _, _, _, err := c.ledger.observe("test", owner, event); err != nil {
		t.Fatal(err)
	}
}

// life shows all events of a further life.
func (c *churn) life(t *testing.T, of ref, steps []step) {
	t.Helper()
	for i, s := range steps {
		c.see(t, "owner-0", say(of, "echo", i+1, s))
	}
}

// TestPlace: a follower's sequence has neither gaps nor repetitions, and is of one life, unless it
// is told otherwise.
func TestPlace(t *testing.T) {
	a, b := ref{"a", "0123456789"}, ref{"a", "9876543210"}
	type shown struct {
		of          ref
		offset, seq int
		kind        string
	}
	for name, test := range map[string]struct {
		feed  bool
		late  bool // it began when a had
		shown []shown
		want  string
		gaps  []gap
	}{
		"whole":               {shown: []shown{{a, 1, 1, "accepted"}, {a, 2, 2, "started"}}},
		"again":               {shown: []shown{{a, 1, 1, "accepted"}, {a, 1, 1, "accepted"}, {a, 2, 2, "started"}}},
		"a gap":               {shown: []shown{{a, 1, 1, "accepted"}, {a, 3, 3, "progress"}}, gaps: []gap{{a, 2, 2}}},
		"another life":        {shown: []shown{{a, 1, 1, "accepted"}, {b, 2, 2, "started"}}, want: "while it follows a/0123456789"},
		"another life, again": {shown: []shown{{a, 2, 2, "started"}, {b, 1, 1, "accepted"}}, want: "while it follows a/0123456789", gaps: []gap{{a, 1, 1}}},
		"another life, told":  {shown: []shown{{a, 1, 1, "accepted"}, {b, 2, 2, "reset"}, {b, 3, 3, "progress"}}},
		"a loss for nothing":  {shown: []shown{{a, 1, 1, "accepted"}, {a, 2, 2, "reset"}}, want: "although nothing was lost"},
		"a feed":              {feed: true, shown: []shown{{a, 1, 1, "accepted"}, {b, 2, 1, "accepted"}, {a, 3, 2, "started"}}},
		"a feed out of order": {feed: true, shown: []shown{{a, 1, 1, "accepted"}, {a, 2, 2, "started"}, {a, 3, 1, "accepted"}}, want: "event 1 of a/0123456789 after 2"},
		"a feed that forgets": {feed: true, shown: []shown{{ref{}, 5, 0, "feed.reset"}}, want: "although nothing was lost"},
		"a feed that forgot":  {feed: true, late: true, shown: []shown{{ref{}, 5, 0, "feed.reset"}, {a, 6, 3, "progress"}, {b, 7, 1, "accepted"}}},
		"a late feed's gap":   {feed: true, late: true, shown: []shown{{ref{}, 5, 0, "feed.reset"}, {b, 6, 2, "started"}}, gaps: []gap{{b, 1, 1}}},
		"a feed that begins":  {feed: true, shown: []shown{{a, 1, 2, "started"}}, gaps: []gap{{a, 1, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := testChurn(plan{})
			f := &follower{churn: c, name: "f", feed: test.feed, seen: make(map[ref]int)}
			if test.late {
				f.before = map[ref]bool{a: true}
			}
			for _, s := range test.shown {
				// What it says is told in the ledger, too.
				_ = f.place(said{offset: s.offset}, s.of, s.seq, s.kind)
			}
			wrong := strings.Join(c.ledger.wrong, "\n")
			if test.want == "" && wrong != "" || !strings.Contains(wrong, test.want) {
				t.Errorf("found %q, not %q", wrong, test.want)
			}
			if !reflect.DeepEqual(f.gaps, test.gaps) {
				t.Errorf("gaps %v, not %v", f.gaps, test.gaps)
			}
		})
	}
}

// TestSeedRepeats: the same seed asks for the same things, another one for others.
func TestSeedRepeats(t *testing.T) {
	plans := func(seed uint64) (all []plan) {
		c := &churn{Options: Options{Seed: seed, Largest: 1000}, receiver: &receiver{url: "http://127.0.0.1:1"}}
		for r := c.random("submit"); len(all) < 200; {
			all = append(all, c.plan(r))
		}
		return all
	}
	if !reflect.DeepEqual(plans(1), plans(1)) {
		t.Error("the same seed, and other plans")
	}
	if reflect.DeepEqual(plans(1), plans(2)) {
		t.Error("another seed, and the same plans")
	}
}
