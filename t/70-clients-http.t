use Test::More skip_all => "being written"; # real clients through the proxy
