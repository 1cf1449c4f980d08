namespace Sals.Engine.Evaluation;

/// <summary>Everyday words, of which two make a needle's key: "quiet-lantern".</summary>
internal static class NeedleWords
{
    private static readonly string[] Adjectives = Split(
        """
        able ancient angry basic bitter bold brave brief bright broad broken calm careful cheap clean clever cold common cool crisp cruel curious
        damp dark deep dense direct distant double dry dull eager early easy empty exact fair faint famous fancy fast fierce final firm flat
        fond formal frail free fresh full gentle giant glad golden grand grave great green grim happy hard harsh heavy hidden high hollow honest
        huge humble idle inner keen kind large late lazy light little lively local lonely long loud loyal lucky mild modern modest narrow neat
        new noble noisy odd old open outer pale patient plain polite poor precise private proud public pure quick quiet rapid rare raw ready
        remote rich rigid ripe rough round royal rude rural rusty sacred sad safe salty secret severe shallow sharp short shy silent silver simple
        sincere slow small smooth sober soft solid sour spare special spicy steady steep stiff strange strict strong subtle sudden sunny sweet swift
        tall tame tender thick thin tidy tight tiny tired tough upper urban usual vague vast vivid warm weak weary wet white whole wide wild wise worthy young
        """);

    private static readonly string[] Nouns = Split(
        """
        acorn anchor angle ankle apple apron arch arrow atlas autumn badge baker balloon banner barn barrel basket beach beacon beam bell bench berry
        bird blanket blossom boat bottle bow bowl branch bread brick bridge broom brush bucket butter button cabin cable camel candle canoe
        canyon carpet castle cave cellar chain chair chalk cherry chest chimney circle clay cliff cloak clock cloud clover coat coin copper coral
        corner cotton cradle crane crown cup curtain dagger daisy desk diamond dish dock door dove dragon drum eagle earth elbow engine
        falcon farm feather fence fern fiddle field flag flame flute forest fork fountain fox frame garden gate giant glacier glass glove goat
        grape hammer harbor harp hat hawk hedge helmet hill honey hook horn horse island ivory jacket jar jewel kettle key kite knot ladder lake
        lamp lantern lawn leaf ledge lemon letter lion lizard locket magnet maple marble market meadow medal melon mill mirror moon mountain
        needle nest oak ocean olive onion orange orchard otter oven owl paddle palace paper parrot path pearl pebble pencil pepper piano pillow pine
        planet plate plow pocket pond pony puddle quill rabbit raft rain raven ribbon ring river road robin rocket roof root rope rose sail
        saddle salt sand scarf shadow shelf shell shield ship shore silk sled smoke snail snow spear spider spoon spring squirrel stable star statue
        stone stove stream sugar sword table teapot temple tent thread throne thunder ticket tiger timber torch tower trail train tray tree trumpet tunnel
        turtle valley vase velvet village violin wagon wall walnut water wave well whale wheat wheel whistle willow wind window winter wolf wood yard
        """);

    /// <summary>Different keys that there are.</summary>
    public static int PairCount => Adjectives.Length * Nouns.Length;

    public static int NounCount => Nouns.Length;

    public static IEnumerable<string> All => Adjectives.Concat(Nouns);

    public static string Noun(Random random) => Nouns[random.Next(Nouns.Length)];

    public static string Key(Random random) => $"{Adjectives[random.Next(Adjectives.Length)]}-{Nouns[random.Next(Nouns.Length)]}";

    private static string[] Split(string words) => words.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
}
