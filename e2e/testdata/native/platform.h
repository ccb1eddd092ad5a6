int platform_check(double two); /* 0 where what it needs of the system is there */
