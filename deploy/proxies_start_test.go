package deploy_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// versions are the proxies that traits were found with, those of Debian 12: how each is asked for
// its version, and what it says.
var versions = map[string]struct{ flag, says string }{
	"nginx": {"-v", "nginx/1.22."}, "caddy": {"version", "2.6."}, "haproxy": {"-v", "version 2.6."}, "varnishd": {"-V", "varnish-7.1."}, "apache2": {"-v", "Apache/2.4."},
}

// proxies are those of Debian 12, each in two lines and as recommended, with what README.md says of
// them.
var proxies = []struct {
	name, program string
	start         func(t *testing.T, first, second string) (url string)
	traits
}{
	{
		"nginx in two lines", "nginx",
		func(t *testing.T, first, _ string) string { return nginxLines(t, first, "", "") },
		traits{conceals: true, notices: true, dead: "502"},
	},
	{
		"nginx in two lines, caching and compressing", "nginx",
		func(t *testing.T, first, _ string) string {
			return nginxLines(t, first, "proxy_cache_path cache keys_zone=c:1m;", "proxy_cache c; proxy_cache_valid any 1m; gzip on; gzip_min_length 1; gzip_types application/json;")
		},
		traits{conceals: true, notices: true, forgets: true, dead: "502"},
	},
	{
		"nginx as recommended", "nginx",
		func(t *testing.T, first, second string) string {
			return startNginx(t, "http://"+first, "http://"+second)
		},
		traits{upgrades: true, keepsHost: true, notices: true, dead: "unavailable"},
	},
	{
		"Caddy in two lines", "caddy",
		func(t *testing.T, first, _ string) string {
			port, dir := freePorts(t, 1)[0], t.TempDir()
			c := exec.Command(program(t, "caddy"), "run", "--adapter", "caddyfile", "--config",
				file(t, dir, "Caddyfile", "{\nadmin off\n}\nhttp://127.0.0.1:"+port+"\nreverse_proxy "+first+"\n"))
			c.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			return startProxy(t, port, c)
		},
		traits{conceals: true, upgrades: true, keepsHost: true, notices: true, dead: "502"},
	},
	{
		"Caddy as recommended", "caddy",
		func(t *testing.T, first, second string) string {
			return startCaddy(t, "http://"+first, "http://"+second)
		},
		traits{conceals: true, upgrades: true, keepsHost: true, notices: true, dead: "unavailable"},
	},
	{
		"HAProxy in two lines", "haproxy",
		func(t *testing.T, first, _ string) string {
			return startHAProxy(t, `
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend f
    bind :8080
    default_backend b
backend b
    option httpchk GET /health/ready
    server g1 `+first+` check
`)
		},
		traits{delays: true, upgrades: true, keepsHost: true, dead: "503"},
	},
	{
		"HAProxy as recommended", "haproxy", startHAProxyFile,
		traits{upgrades: true, keepsHost: true, notices: true, dead: "unavailable"},
	},
	{
		"Varnish in two lines", "varnishd",
		func(t *testing.T, first, _ string) string {
			host, port, _ := net.SplitHostPort(first)
			return startVarnish(t, fmt.Sprintf("vcl 4.1;\nbackend default { .host = %q; .port = %q; }\n", host, port))
		},
		traits{keepsHost: true, queues: true, dead: "503"},
	},
	{
		"Varnish as recommended", "varnishd", startVarnishFile,
		traits{cuts: true, upgrades: true, keepsHost: true, notices: true, dead: "unavailable"},
	},
	{
		"Apache in two lines", "apache2",
		func(t *testing.T, first, _ string) string {
			return startApache(t, "proxy proxy_http", "Listen 8080\nProxyPass / http://"+first+"/\nProxyPassReverse / http://"+first+"/\n")
		},
		traits{dead: "503"},
	},
	{
		"Apache in two lines, caching and compressing", "apache2",
		func(t *testing.T, first, _ string) string {
			return startApache(t, "proxy proxy_http cache cache_disk filter deflate", "Listen 8080\nProxyPass / http://"+first+"/\nProxyPassReverse / http://"+first+"/\n"+
				"CacheRoot cache\nCacheEnable disk /\nAddOutputFilterByType DEFLATE application/json\n")
		},
		traits{retags: true, dead: "503"},
	},
	{
		"Apache as recommended", "apache2", startApacheFile,
		traits{upgrades: true, keepsHost: true, dead: "unavailable"},
	},
}

// file writes a file of a test.
func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// nginxLines starts nginx as tutorials show it, with more for "http" and "location".
func nginxLines(t *testing.T, first, http, location string) string {
	t.Helper()
	port, dir := freePorts(t, 1)[0], t.TempDir()
	text := "events {}\nhttp {\naccess_log off;\nclient_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n" +
		http + "\nserver {\nlisten 127.0.0.1:" + port + ";\nlocation / {\nproxy_pass http://" + first + ";\n" + location + "\n}\n}\n}\n"
	directives := "daemon off; pid nginx.pid;"
	if os.Getuid() == 0 {
		directives += " user root;"
	}
	return startProxy(t, port, exec.Command(program(t, "nginx"), "-p", dir+"/", "-c", file(t, dir, "nginx.conf", text), "-e", "stderr", "-g", directives))
}

// startHAProxy starts HAProxy and waits until its checks have found the first gateway.
func startHAProxy(t *testing.T, text string) string {
	t.Helper()
	port, dir := freePorts(t, 1)[0], t.TempDir()
	socket := filepath.Join(dir, "stats")
	text = "global\n    stats socket " + socket + "\n" + strings.Replace(text, "bind :8080", "bind 127.0.0.1:"+port, 1)
	url := startProxy(t, port, exec.Command(program(t, "haproxy"), "-db", "-f", file(t, dir, "haproxy.cfg", text)))
	eventually(t, "HAProxy has seen that the gateway is ready", func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("show stat\n"))
		var said strings.Builder
		buffer := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buffer)
			said.Write(buffer[:n])
			if err != nil {
				return strings.Contains(said.String(), "L7OK")
			}
		}
	})
	return url
}

func startHAProxyFile(t *testing.T, first, second string) string {
	return startHAProxy(t, strings.NewReplacer("gateway-1:8080", first, "gateway-2:8080", second).Replace(read(t, "deploy/haproxy.cfg")))
}

func startVarnish(t *testing.T, text string) string {
	t.Helper()
	port, dir := freePorts(t, 1)[0], t.TempDir()
	return startProxy(t, port, exec.Command(program(t, "varnishd"), "-F", "-a", "127.0.0.1:"+port, "-f", file(t, dir, "default.vcl", text),
		"-n", filepath.Join(dir, "work"), "-s", "malloc,32m", "-j", "none", "-p", "thread_pool_min=20", "-p", "pipe_timeout=120"))
}

func startVarnishFile(t *testing.T, first, second string) string {
	host, port, _ := net.SplitHostPort(first)
	other, its, _ := net.SplitHostPort(second)
	text := read(t, "deploy/varnish.vcl")
	for _, name := range [][2]string{{"gateway-1", host}, {"gateway-2", other}, {"8080", port}, {"8080", its}} {
		text = strings.Replace(text, `"`+name[0]+`"`, `"`+name[1]+`"`, 1)
	}
	return startVarnish(t, text)
}

// startApache starts Apache with its modules and what Debian's apache2.conf says besides.
func startApache(t *testing.T, modules, text string) string {
	t.Helper()
	port, dir := freePorts(t, 1)[0], t.TempDir()
	var b strings.Builder
	fmt.Fprintf(&b, "ServerRoot %s\nServerName localhost\nDefaultRuntimeDir %s\nPidFile pid\nErrorLog /dev/stderr\nMutex posixsem\nThreadsPerChild 32\nMaxRequestWorkers 32\n", dir, dir)
	for module := range strings.FieldsSeq("mpm_event authz_core env alias " + modules) {
		fmt.Fprintf(&b, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", module, module)
	}
	b.WriteString(strings.NewReplacer("Listen 8080", "Listen 127.0.0.1:"+port, "*:8080", "127.0.0.1:"+port).Replace(text))
	if err := os.Mkdir(filepath.Join(dir, "cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	// One process, which stays in the foreground and who it is.
	return startProxy(t, port, exec.Command(program(t, "apache2"), "-X", "-f", file(t, dir, "apache.conf", b.String())))
}

func startApacheFile(t *testing.T, first, second string) string {
	folder, err := filepath.Abs("apache")
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, "deploy/apache.conf")
	// a2enmod brings the former two along.
	modules := "proxy slotmem_shm " + between(text, "a2enmod ", "\n")
	return startApache(t, modules, strings.NewReplacer("gateway-1:8080", first, "gateway-2:8080", second, "/etc/apache2/hark", folder).Replace(text))
}

// between returns what stands in a text between two others.
func between(text, before, after string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, after)
	return text
}
