//go:build !unix

package intake

import "net"

// reset is not known here.
func reset(net.Conn) bool { return false }

// silent is not known here.
func silent(net.Conn) bool { return false }
