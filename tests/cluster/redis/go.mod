// The Redis of tests/cluster/argo_cd.rs: the one in Go that Argo CD itself uses where it has no other.
module serin/tests/cluster/redis

go 1.24

require github.com/alicebob/miniredis/v2 v2.35.0

require github.com/yuin/gopher-lua v1.1.1 // indirect
