/* What compilers take for granted of every C program, and formatted output. */

#include <paravane.h>
#include <stdarg.h>

void *memset(void *to, int byte, size_t size)
{
    char *at = to;

    while ( size-- )
        *at++ = byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    char *at = to;
    const char *source = from;

    while ( size-- )
        *at++ = *source++;
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    char *at = to;
    const char *source = from;

    if ( at <= source )
        return memcpy(to, from, size);
    while ( size-- )
        at[size] = source[size];
    return to;
}

int memcmp(const void *one, const void *other, size_t size)
{
    const unsigned char *a = one, *b = other;

    for ( ; size--; a++, b++ )
        if ( *a != *b )
            return *a - *b;
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;

    while ( *end )
        end++;
    return end - text;
}

static void print_signed(int value)
{
    if ( value < 0 )
        print_char('-');
    print_dec(value < 0 ? -(unsigned int)value : (unsigned int)value);
}

/* One conversion; an unknown one is printed as it stands. */
static void print_one(char conversion, va_list *arguments)
{
    const char *text;

    switch ( conversion )
    {
    case 'c': print_char(va_arg(*arguments, int)); break;
    case 'd': print_signed(va_arg(*arguments, int)); break;
    case 'u': print_dec(va_arg(*arguments, unsigned int)); break;
    case 'x': print_hex32(va_arg(*arguments, unsigned int)); break;
    case 'p': print_hex32((unsigned int)va_arg(*arguments, void *)); break;
    case 'X': print_hex64(va_arg(*arguments, unsigned long long)); break;
    case 's':
        text = va_arg(*arguments, const char *);
        print_string(text ? text : "(null)");
        break;
    case '%': print_char('%'); break;
    default:
        print_char('%');
        print_char(conversion);
    }
}

void print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    for ( ; *format; format++ )
    {
        if ( *format == '%' && format[1] )
            print_one(*++format, &arguments);
        else
            print_char(*format);
    }
    va_end(arguments);
}
