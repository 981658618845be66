package redis_test

import (
	"bytes"
	"log/slog"
	"reflect"
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
	if err := admin.HSet(t.Context(), "hark:meta", "version", 5).Err(); err != nil {
		t.Fatal(err)
	}
	refused(redis.Options{}, "its layout is version 5, this program knows up to version 4")
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

func TestParseURL(t *testing.T) {
	for _, test := range []struct {
		url     string
		addrs   []string
		user    string
		secret  string
		db      int
		master  string
		tls     bool
		cluster bool
		bad     string
	}{
		{url: "redis://localhost", addrs: []string{"localhost:6379"}},
		{url: "redis://u:p%40@h:1/3", addrs: []string{"h:1"}, user: "u", secret: "p@", db: 3},
		{url: "rediss://:p@h:1", addrs: []string{"h:1"}, secret: "p", tls: true},
		{url: "redis://a:1,b:2,c", addrs: []string{"a:1", "b:2", "c:6379"}},
		{url: "redis://u:p@[::1]:1,[::2]", addrs: []string{"[::1]:1", "[::2]:6379"}, user: "u", secret: "p"},
		{url: "redis://a:1?cluster=true&pool_size=7", addrs: []string{"a:1"}, cluster: true},
		{url: "redis://a:1,b:2/4?master=m", addrs: []string{"a:1", "b:2"}, db: 4, master: "m"},
		{url: "unix:///run/redis.sock?db=2", addrs: []string{"/run/redis.sock"}, db: 2},
		{url: "redis://a:1,b:2/4", bad: "only database 0"},
		{url: "redis://a:1,,b:2", bad: "empty host"},
		{url: "redis://a:1?cluster=maybe", bad: "cluster=maybe"},
		{url: "http://:secret@a", bad: "scheme"},
		{url: "redis://:secret@a:b:c/%zz", bad: "bad URL"},
		{url: "", bad: "scheme"},
	} {
		o, err := redis.ParseURL(test.url)
		if test.bad != "" {
			if err == nil || !strings.Contains(err.Error(), test.bad) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v, want %q", test.url, err, test.bad)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.url, err)
			continue
		}
		if !reflect.DeepEqual(o.Addrs, test.addrs) || o.Username != test.user || o.Password != test.secret || o.DB != test.db ||
			o.MasterName != test.master || (o.TLSConfig != nil) != test.tls || o.IsClusterMode != test.cluster {
			t.Errorf("%q: %+v", test.url, o)
		}
	}
}
