package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds, also against who means no good.
const (
	maxConns     = 64
	maxHeader    = 8 << 10 // bytes
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = 2 * time.Minute // longer than one scrape and the next are apart
)

// Config says what there is to tell. All of it is called from many goroutines.
type Config struct {
	Ready   func() error // why the gateway does not do its work; nil: it does
	Metrics func(*Page)  // writes the gateway's figures; those of the process come behind
	Log     *slog.Logger
}

// A Server answers HTTP requests.
type Server struct {
	http    http.Server
	serving sync.WaitGroup
}

// New makes a server that listens nowhere yet.
func New(cfg Config) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { health(w, cfg.Ready()) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		var p Page
		cfg.Metrics(&p)
		Write(&p, processMetrics, &process{})
		w.Header().Set("Content-Type", ContentType)
		w.Write(p.text)
	})
	return &Server{http: http.Server{
		Handler:        mux,
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug), // what broken clients do
	}}
}

// health answers whether the gateway does its work.
func health(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, err.Error()+"\n")
		return
	}
	io.WriteString(w, "ok\n")
}

// Listen serves at addr, host:port, until Close, and returns the address it has got.
func (s *Server) Listen(addr string) (net.Addr, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s.serve(ln)
	return ln.Addr(), nil
}

func (s *Server) serve(ln net.Listener) {
	s.serving.Go(func() { s.http.Serve(netutil.LimitListener(ln, maxConns)) }) // until Close
}

// Close ends all, requests under way when ctx does.
func (s *Server) Close(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	s.serving.Wait()
}
