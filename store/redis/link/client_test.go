package link_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis/link"
)

// TestScripts: a server that does not know a script is given it, alone, on many keys, and for the
// tasks of many callers, each of which gets its own answer or error.
func TestScripts(t *testing.T) {
	client, _ := connect(t, servertest.Redis(t).URL)
	ctx := t.Context()
	echo := goredis.NewScript(`return { 'ok', KEYS[1], tonumber(ARGV[1]), { ARGV[1] } }`)
	answer, err := client.Run(ctx, echo, "k", 7)
	n, numberErr := answer.Number(2)
	if err != nil || numberErr != nil || answer.Verdict() != "ok" || answer.Text(1) != "k" || n != 7 || answer.List(3).Text(0) != "7" {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := answer.Numbers(2, 3); !errors.Is(err, link.ErrAnswer) || answer.Text(9) != "" || answer.List(9) != nil {
		t.Errorf("what is not there: %v", err)
	}
	keys := []string{"a", "b", "c"}
	answers, errs := client.RunOn(ctx, goredis.NewScript(`return { KEYS[1], ARGV[1] }`), keys, func(i int) []any { return []any{i} })
	for i, key := range keys {
		if errs[i] != nil || answers[i].Text(0) != key || answers[i].Text(1) != fmt.Sprint(i) {
			t.Errorf("%s: %v, %v", key, answers[i], errs[i])
		}
	}

	tasks := goredis.NewScript(`
local answers, at = {}, 2
while at <= #ARGV do
  local n, what = tonumber(ARGV[at]), ARGV[at + 1]
  answers[#answers + 1] = what == 'short' and 1 or what == 'bad' and { 'error', 'of it alone' } or { 'ok', what, ARGV[1] }
  at = at + 1 + n
end
return answers`)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			what := []string{"short", "bad", "long"}[i%3]
			answer, err := client.RunTask(ctx, tasks, "k", 12, what, "more")
			switch what {
			case "bad":
				if err == nil || err.Error() != "of it alone" {
					t.Errorf("%v, %v", answer, err)
				}
			case "short":
				if err != nil || answer.Verdict() != "ok" || len(answer) != 1 {
					t.Errorf("%v, %v", answer, err)
				}
			default:
				if err != nil || answer.Text(1) != what || answer.Text(2) != "12" {
					t.Errorf("%v, %v", answer, err)
				}
			}
		})
	}
	all.Wait()
}

// TestNames: what stands behind a prefix, whatever characters it has.
func TestNames(t *testing.T) {
	client, _ := connect(t, servertest.Redis(t).URL)
	for _, key := range []string{"[a]*:2", "[a]*:1", "a:3", "[a]x:4"} {
		if err := client.Set(t.Context(), key, "", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	names, err := client.Names(t.Context(), "[a]*:")
	if err != nil || !slices.Equal(names, []string{"1", "2"}) {
		t.Errorf("%q, %v", names, err)
	}
}
