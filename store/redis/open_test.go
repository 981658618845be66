package redis_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

func TestOpenRefuses(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	open(t, server.URL, redis.Options{Partitions: 3})
	open(t, server.URL, redis.Options{}) // takes what is there
	refused := func(o redis.Options, want string) {
		t.Helper()
		s, err := redis.Open(t.Context(), server.URL, o)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused(redis.Options{Partitions: 4}, "made with 3 partitions, not 4")
	refused(redis.Options{Partitions: 5000}, "want 1 to 1024")
	if err := admin.HSet(t.Context(), "hark:meta", "version", 7).Err(); err != nil {
		t.Fatal(err)
	}
	refused(redis.Options{}, "its layout is version 7, this program knows up to version 6")
	if err := admin.Set(t.Context(), "other:meta", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	refused(redis.Options{Prefix: "other"}, "WRONGTYPE")
	if err := admin.HSet(t.Context(), "third:meta", "format", "x").Err(); err != nil {
		t.Fatal(err)
	}
	refused(redis.Options{Prefix: "third"}, "not that of a Hark store")
}

func TestOpenWarns(t *testing.T) {
	var log bytes.Buffer
	o := redis.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	open(t, servertest.Redis(t).URL, o)
	if log.Len() > 0 {
		t.Errorf("without reason: %s", log.String())
	}
	open(t, servertest.Redis(t, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru").URL, o)
	for _, want := range []string{"setting=appendonly value=no want=yes", "setting=maxmemory-policy value=allkeys-lru want=noeviction"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log.String())
		}
	}
}
