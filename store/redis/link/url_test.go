package link_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hark-push/hark/store/redis/link"
)

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
		o, err := link.ParseURL(test.url)
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
