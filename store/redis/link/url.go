package link

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// ParseURL reads where Redis is:
//
//	redis://user:password@host:6379/0           one server
//	rediss://host:6380                          over TLS
//	unix:///run/redis.sock?db=1                 over a Unix socket
//	redis://one:6379,two:6379,three:6379        a Cluster, by some of its nodes
//	redis://one:6379?cluster=true               a Cluster, by one of its nodes
//	redis://one:26379,two:26379/0?master=name   a master that Sentinels watch
//
// For Sentinel, sentinel_username and sentinel_password may be given in the query.
// The further options that go-redis takes in a URL (pool_size, dial_timeout,
// skip_verify, …) are accepted.
func ParseURL(raw string) (*goredis.UniversalOptions, error) {
	head, query, _ := strings.Cut(raw, "?")
	own, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("bad query in the URL of Redis")
	}
	take := func(name string) string {
		value := own.Get(name)
		own.Del(name)
		return value
	}
	master, cluster := take("master"), take("cluster")
	sentinelUser, sentinelPassword := take("sentinel_username"), take("sentinel_password")
	isCluster := false
	if cluster != "" {
		if isCluster, err = strconv.ParseBool(cluster); err != nil {
			return nil, fmt.Errorf("bad URL of Redis: cluster=%s, want true or false", cluster)
		}
	}
	var more []string
	if scheme, rest, ok := strings.Cut(head, "://"); ok && scheme != "unix" {
		authority, path, _ := strings.Cut(rest, "/")
		at := strings.LastIndex(authority, "@") + 1
		hosts := strings.Split(authority[at:], ",")
		more = hosts[1:]
		head = scheme + "://" + authority[:at] + hosts[0]
		if path != "" {
			head += "/" + path
		}
	}
	if len(own) > 0 {
		head += "?" + own.Encode()
	}
	first, err := goredis.ParseURL(head)
	if err != nil {
		// Its errors may show the whole URL, with the password.
		if bad, ok := errors.AsType[*url.Error](err); ok {
			err = bad.Err
		}
		return nil, fmt.Errorf("bad URL of Redis: %w", err)
	}
	o := &goredis.UniversalOptions{
		Addrs: []string{first.Addr}, DB: first.DB, Username: first.Username, Password: first.Password, ClientName: first.ClientName,
		TLSConfig: first.TLSConfig, DialTimeout: first.DialTimeout,
		PoolSize: first.PoolSize, PoolTimeout: first.PoolTimeout, PoolFIFO: first.PoolFIFO, MinIdleConns: first.MinIdleConns,
		MaxIdleConns: first.MaxIdleConns, MaxActiveConns: first.MaxActiveConns,
		ConnMaxIdleTime: first.ConnMaxIdleTime, ConnMaxLifetime: first.ConnMaxLifetime,
		MasterName: master, SentinelUsername: sentinelUser, SentinelPassword: sentinelPassword,
		IsClusterMode: isCluster,
	}
	for _, host := range more {
		if host == "" {
			return nil, errors.New("bad URL of Redis: an empty host in the list")
		}
		if !strings.Contains(host, ":") || strings.HasSuffix(host, "]") {
			host += ":6379"
		}
		o.Addrs = append(o.Addrs, host)
	}
	if (isCluster || len(more) > 0 && master == "") && o.DB != 0 {
		return nil, errors.New("bad URL of Redis: a Cluster has only database 0")
	}
	return o, nil
}
